#!/bin/sh
# What Baige is made of: scripts/supply.sh lock|sbom|audit
set -eu
cd "$(dirname -- "$0")/.."
PY=.venv/bin/python
index=$($PY -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}" PIP_INDEX_URL="${PIP_INDEX_URL:-$index}"
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS=1

tools() { # tools of their own, so that they are no part of what they describe
    [ -x .tools/supply/bin/pip-audit ] || { "$PY" -m venv .tools/supply; .tools/supply/bin/pip install -q --disable-pip-version-check cyclonedx-bom pip-licenses pip-audit; }
}

case "${1:-}" in
lock)
    .venv/bin/uv pip compile -q pyproject.toml --universal --extra demo --extra cluster --generate-hashes --python-version 3.12 \
        --no-emit-index-url --no-header -o requirements.lock
    echo "requirements.lock: $(grep -c '^[a-z].*==' requirements.lock) packages" ;;
sbom)
    tools
    mkdir -p out/supply
    # an environment with nothing but what is locked
    [ -x .tools/locked/bin/python ] || "$PY" -m venv --without-pip .tools/locked
    .venv/bin/uv pip sync -q --python .tools/locked/bin/python requirements.lock
    .tools/supply/bin/cyclonedx-py environment .tools/locked --pyproject pyproject.toml --output-format JSON -o out/supply/sbom.cdx.json
    .tools/supply/bin/pip-licenses --python .tools/locked/bin/python --format=markdown --order=license --with-urls --output-file out/supply/licences.md
    echo "out/supply/sbom.cdx.json: $($PY -c 'import json; print(len(json.load(open("out/supply/sbom.cdx.json"))["components"]))') components; out/supply/licences.md" ;;
audit)
    tools
    .tools/supply/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock ||
        { echo "Either a vulnerability was found, or its data cannot be had from this index (a mirror has none): see above." >&2; exit 1; } ;;
*)
    echo "usage: scripts/supply.sh lock|sbom|audit" >&2
    exit 2 ;;
esac
