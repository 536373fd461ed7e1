#!/bin/sh
# Everything that an installation without a network needs, in one folder: out/wheelhouse (wheels of all dependencies, Baige's own, a list of
# Debian packages). On the other machine: sh install.sh [PYTHON]
set -eu
cd "$(dirname -- "$0")/.."
HOUSE="${1:-out/wheelhouse}"
PY=.venv/bin/python
rm -rf "$HOUSE"
mkdir -p "$HOUSE/wheels"
index=$($PY -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export PIP_INDEX_URL="$index"
$PY -m pip -q --disable-pip-version-check wheel --no-deps --wheel-dir "$HOUSE/wheels" .
# The versions of the lock file, each with its hash; what has no wheel is built here.
$PY -m pip -q --disable-pip-version-check download --require-hashes -r requirements.lock --dest "$HOUSE/wheels" --prefer-binary
for source in "$HOUSE"/wheels/*.tar.gz; do
    [ -e "$source" ] || continue
    $PY -m pip -q --disable-pip-version-check wheel --no-deps --wheel-dir "$HOUSE/wheels" "$source" && rm "$source"
done
cp requirements.lock "$HOUSE/"
cat >"$HOUSE/debian-packages.txt" <<'LIST'
postgresql-15
postgresql-15-postgis-3
postgresql-15-postgis-3-scripts
libexpat1
fonts-noto-cjk
python3.12-venv
LIST
cat >"$HOUSE/install.sh" <<'INSTALL'
#!/bin/sh
# Installs Baige from this folder, without a network: sh install.sh [PYTHON [FOLDER]]
set -eu
here=$(cd "$(dirname -- "$0")" && pwd)
python=${1:-python3.12}
folder=${2:-/opt/baige}
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --disable-pip-version-check --no-index --find-links "$here/wheels" 'baige[demo,cluster]'
"$folder/bin/baige" doctor || echo "Debian packages that may be missing: $(tr '\n' ' ' <"$here/debian-packages.txt")" >&2
INSTALL
(cd "$HOUSE" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
echo "$HOUSE: $(ls "$HOUSE/wheels" | wc -l) wheels, $(du -sh "$HOUSE" | cut -f1)"
