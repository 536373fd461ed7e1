#!/bin/sh
# Coverage-guided fuzzing of every door, SECONDS for each (60), or of the doors named: scripts/fuzz_guided.sh 300 cql2-text wkb
# atheris goes into an environment of its own in .tools; what reaches new code is kept in out/fuzz, a crash ends it.
set -eu
cd "$(dirname -- "$0")/.."
SECONDS_EACH="${1:-60}"
[ $# -eq 0 ] || shift
there=.tools/atheris
if ! "$there/bin/python" -c 'import atheris' >/dev/null 2>&1; then
    rm -rf "$there"
    uv=.venv/bin/uv
    [ -x "$uv" ] || uv=uv
    index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
    "$uv" venv -q --python .venv/bin/python "$there"
    "$uv" pip install -q --python "$there/bin/python" --only-binary :all: 'atheris==3.1.0'
    # the libraries are those of .venv
    .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$("$there/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/baige.pth"
fi
[ $# -gt 0 ] || set -- cql2-text cql2-json parameters tile wkb csv geojson geojsonl
for door in "$@"; do
    printf '── %s\n' "$door" >&2
    log="out/fuzz/$door.log"
    mkdir -p out/fuzz
    PYTHONDONTWRITEBYTECODE=1 "$there/bin/python" tests/reliability/guided.py "$door" "$SECONDS_EACH" out/fuzz >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }
    grep '^Done' "$log" >&2
done
