#!/bin/sh
# Sets up everything Baige needs: system packages, Python, .venv. Run by make; a second run ends in a moment.
#
#   scripts/setup.sh [run|test|bench|clients]
#
# run    what the demo and a server need (default)
# test   also test tools, GDAL's programs, Chromium and nginx (unpacked, not installed)
# bench  also the libraries and servers that benchmarks compare with, and wrk
# clients  what test has, and QGIS (Debian's, without its desktop program), ogctests and schemathesis
#
# BAIGE_PYTHON      the Python (3.12 or newer) to use, instead of searching for one
# BAIGE_NO_APT=1    install no system packages, only say which are missing
set -eu

LEVEL="${1:-run}"
case "$LEVEL" in run | test | bench | clients) ;; *) echo "usage: scripts/setup.sh [run|test|bench|clients]" >&2; exit 2 ;; esac
# What clients needs beyond test is added to it: the rest of the set-up need not know of it.
CLIENTS=0
if [ "$LEVEL" = clients ]; then
    CLIENTS=1
    "$0" test
    LEVEL=test
fi

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$ROOT"
VENV="$ROOT/.venv"
LOG="$ROOT/out/setup.log"
STARTED=$(date +%s)

say() { printf '%s\n' "$*" >&2; }
fail() { say "✗ $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# step TITLE COMMAND… : runs it with output into the log; shows the time that passes, and the end of the log if it fails.
step() {
    title=$1
    shift
    begun=$(date +%s)
    printf '\n== %s: %s\n' "$title" "$*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child" 2>/dev/null; exit 130' INT TERM
    shown=0
    while kill -0 "$child" 2>/dev/null; do
        passed=$(($(date +%s) - begun))
        if [ -t 2 ]; then
            printf '\r… %s  %d s ' "$title" "$passed" >&2
        elif [ $((passed - shown)) -ge 30 ]; then
            shown=$passed
            say "… $title  $passed s"
        fi
        sleep 0.2
    done
    status=0
    wait "$child" || status=$?
    trap - INT TERM
    [ -t 2 ] && printf '\r' >&2
    if [ "$status" -eq 0 ]; then
        say "✓ $title  $(($(date +%s) - begun)) s   "
    else
        say "✗ $title  (the end of $LOG:)"
        tail -n 25 "$LOG" >&2
    fi
    return "$status"
}

# ---- nothing to do? -----------------------------------------------------------------------------------------------------------

fingerprint() { cat pyproject.toml requirements.lock scripts/setup.sh | cksum | tr -d ' '; }

satisfied() {
    for level in "$LEVEL" test bench; do
        case "$LEVEL:$level" in test:run | bench:run | bench:test) continue ;; esac
        if [ -f "$VENV/.baige-$level" ] && [ "$(cat "$VENV/.baige-$level")" = "$ROOT $(fingerprint)" ]; then
            "$VENV/bin/python" -c 'import click, numpy' 2>/dev/null && return 0
        fi
    done
    return 1
}

# ---- system packages ----------------------------------------------------------------------------------------------------------

postgis_there() {
    for control in /usr/share/postgresql/*/extension/postgis.control /usr/pgsql-*/share/extension/postgis.control; do
        [ -f "$control" ] || continue
        case "$control" in
        /usr/share/*) major=$(basename "$(dirname "$(dirname "$control")")"); bin=/usr/lib/postgresql/$major/bin ;;
        *) bin=$(dirname "$(dirname "$(dirname "$control")")")/bin; major=${bin#/usr/pgsql-}; major=${major%/bin} ;;
        esac
        [ "$major" -ge 15 ] 2>/dev/null && [ -x "$bin/initdb" ] && return 0
    done
    # Elsewhere, by what is on PATH.
    have initdb && have pg_config && [ -f "$(pg_config --sharedir)/extension/postgis.control" ]
}

cjk_font_there() {
    if have fc-list; then
        [ -n "$(fc-list :lang=zh 2>/dev/null | head -n 1)" ] && return 0
    fi
    [ -n "$(find /usr/share/fonts /usr/local/share/fonts -iname '*cjk*' -o -iname 'wqy*' -o -iname 'SourceHan*' 2>/dev/null | head -n 1)" ]
}

browser_there() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        # Ubuntu's chromium-browser may be a note that says to use snap: a browser answers with a version.
        have "$name" && "$name" --version >/dev/null 2>&1 </dev/null && return 0
    done
    [ -n "$(find "$HOME/.cache/ms-playwright" -maxdepth 1 -name 'chromium*' 2>/dev/null | head -n 1)" ]
}

library_there() { ldconfig -p 2>/dev/null | grep -q "$1" || [ -n "$(find /lib /usr/lib -name "$1*" 2>/dev/null | head -n 1)" ]; }

postgresql_packages() { # the newest PostgreSQL whose PostGIS is packaged; one that is installed already goes first
    majors=$(apt-cache search --names-only '^postgresql-[0-9]+-postgis-3$' | sed -n 's/^postgresql-\([0-9]*\)-postgis-3 .*/\1/p' | sort -rn)
    for major in $majors; do
        [ "$major" -ge 15 ] && [ -x "/usr/lib/postgresql/$major/bin/initdb" ] && { best=$major; break; }
    done
    [ -n "${best:-}" ] || best=$(printf '%s\n' $majors | head -n 1)
    if [ -z "$best" ] || [ "$best" -lt 15 ]; then
        say "  This release has no PostgreSQL ≥ 15 with PostGIS; see https://wiki.postgresql.org/wiki/Apt"
        return 1
    fi
    echo "postgresql-$best postgresql-$best-postgis-3 postgresql-$best-postgis-3-scripts"
}

SUDO=""
may_install() {
    have apt-get && [ "${BAIGE_NO_APT:-0}" != 1 ] || return 1
    [ "$(id -u)" -eq 0 ] && return 0
    have sudo || return 1
    SUDO="sudo"
    sudo -n true 2>/dev/null && return 0
    [ -t 0 ] && sudo -v
}

apt_install() {
    # shellcheck disable=SC2086
    $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 "$@"
}

system_packages() {
    needed=""   # without these nothing works
    wished=""   # without these something is missing
    if [ -z "${BAIGE_DATABASE_URL:-}" ] || [ "$LEVEL" != run ]; then postgis_there || needed="postgis"; fi
    library_there libexpat.so.1 || needed="$needed libexpat1"
    [ -d /etc/ssl/certs ] || wished="$wished ca-certificates"
    cjk_font_there || wished="$wished fonts-noto-cjk"
    if [ "$LEVEL" != run ]; then
        have ogr2ogr || wished="$wished gdal-bin"
        browser_there || wished="$wished chromium"
    fi
    if [ "$LEVEL" = bench ]; then have wrk || wished="$wished wrk"; fi
    [ -n "$needed$wished" ] || return 0
    names="$(printf '%s' "$needed" | sed 's/postgis/postgresql postgresql-NN-postgis-3 (NN = number of your PostgreSQL, 15 or newer)/')$wished"
    if ! may_install; then
        say "These system packages are missing and cannot be installed from here (no apt-get, or neither root nor sudo):"
        say "    $names"
        say "  Debian or Ubuntu: sudo apt-get install …    Fedora: postgresql-server postgis google-noto-sans-cjk-fonts gdal chromium"
        [ -z "$needed" ] || fail "Install them and run again, or set BAIGE_DATABASE_URL to a PostGIS database elsewhere."
        return 0
    fi
    step "Package lists (apt-get update)" $SUDO apt-get update -q || say "  continuing with the lists at hand"
    case "$needed" in
    *postgis*)
        packages=$(postgresql_packages) || fail "PostgreSQL with PostGIS cannot be installed."
        # Baige has a cluster of its own: Debian need not make and start another.
        dropin=/etc/postgresql-common/createcluster.d/baige.conf
        if [ ! -d /etc/postgresql-common ]; then
            $SUDO mkdir -p "$(dirname "$dropin")"
            echo "create_main_cluster = false" | $SUDO tee "$dropin" >/dev/null
        fi
        # shellcheck disable=SC2086
        step "System packages: $packages" apt_install $packages || fail "apt-get could not install $packages."
        $SUDO rm -f "$dropin"
        ;;
    esac
    for package in $(printf '%s' "$needed" | sed 's/postgis//'); do
        step "System package: $package" apt_install "$package" || fail "apt-get could not install $package."
    done
    for package in $wished; do
        step "System package: $package" apt_install "$package" || say "  $package could not be installed; going on without it."
    done
}

# ---- Python -------------------------------------------------------------------------------------------------------------------

fits() { "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1 </dev/null; }

find_python() {
    if [ -n "${BAIGE_PYTHON:-}" ]; then
        fits "$BAIGE_PYTHON" || fail "BAIGE_PYTHON=$BAIGE_PYTHON is not a Python 3.12 to 3.14 that runs."
        echo "$BAIGE_PYTHON"
        return
    fi
    # What PATH names may be a shim that does not run: each is tried.
    for name in python3.13 python3.12 python3.14 python3 python; do
        have "$name" && fits "$name" && { command -v "$name"; return; }
    done
    for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[234]*/bin/python /opt/python/*/bin/python3 /usr/local/bin/python3.1[234] \
        "$HOME"/.local/share/uv/python/cpython-3.1[234]*/bin/python3; do
        [ -x "$path" ] && fits "$path" && { echo "$path"; return; }
    done
    return 1
}

get_uv() { # prints a uv that runs; the last resort puts one into .tools
    for path in uv "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" "$ROOT/.tools/bin/uv"; do
        have "$path" && { command -v "$path"; return; }
    done
    for name in python3 python; do
        have "$name" || continue
        rm -rf "$ROOT/.tools"
        if "$name" -m venv "$ROOT/.tools" >>"$LOG" 2>&1 || { may_install && apt_install python3-venv >>"$LOG" 2>&1 && "$name" -m venv "$ROOT/.tools" >>"$LOG" 2>&1; }; then
            "$ROOT/.tools/bin/pip" install -q uv >>"$LOG" 2>&1 && { echo "$ROOT/.tools/bin/uv"; return; }
        fi
    done
    return 1
}

provide_python() {
    find_python && return
    say "No Python 3.12 or newer found; trying to get one."
    if may_install; then
        offered=$(apt-cache policy python3 2>/dev/null | sed -n 's/ *Candidate: \([0-9]*\.[0-9]*\).*/\1/p')
        case "$offered" in
        3.1[2-4]) step "System package: python3" apt_install python3 python3-venv && find_python && return ;;
        esac
        # A bare system may have no Python at all, and uv comes by pip.
        have python3 || step "System package: python3-venv" apt_install python3-venv ca-certificates || true
    fi
    if uv=$(get_uv); then
        "$uv" python find '>=3.12,<3.15' 2>/dev/null && return
        step "Python 3.12 by uv" "$uv" python install 3.12 && "$uv" python find 3.12 && return
    fi
    if have pyenv; then
        step "Python 3.12 by pyenv" pyenv install -s 3.12 && find_python && return
    fi
    fail "Python 3.12 or newer is needed. Install it (python3.12 with python3.12-venv, or uv: https://docs.astral.sh/uv/) or set BAIGE_PYTHON."
}

make_venv() {
    if [ -x "$VENV/bin/python" ] && fits "$VENV/bin/python"; then return 0; fi
    python=$(provide_python)
    rm -rf "$VENV"
    if "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        step "Virtual environment (.venv, $("$python" -V 2>&1))" "$python" -m venv "$VENV" && return 0
    fi
    # Debian splits venv off into a package of its own; uv does without.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if may_install && step "System package: python$version-venv" apt_install "python$version-venv"; then
        rm -rf "$VENV"
        step "Virtual environment (.venv)" "$python" -m venv "$VENV" && return 0
    fi
    uv=$(get_uv) || fail "$python has no venv module. Install python$version-venv."
    step "Virtual environment (.venv, by uv)" "$uv" venv --seed --python "$python" "$VENV"
}

install_packages() {
    case "$LEVEL" in
    run) extras=".[demo]"; groups="" ;;
    test) extras=".[demo,cluster]"; groups="dev" ;;
    bench) extras=".[demo,cluster]"; groups="dev bench" ;;
    esac
    flags=""
    for group in $groups; do flags="$flags --group $group"; done
    # uv does not read pip's configuration; where a mirror is set there, tell it.
    index=$("$VENV/bin/python" -m pip config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
    export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}"
    uv="$VENV/bin/uv"
    [ -x "$uv" ] || step "uv" "$VENV/bin/python" -m pip install -q --disable-pip-version-check uv || uv=$(command -v uv) || uv=""
    # shellcheck disable=SC2086
    if [ -n "$uv" ]; then
        # The versions of the lock file, their hashes checked. Where they do not fit (another index, another Python), the newest that do.
        # shellcheck disable=SC2086
        step "Python packages ($LEVEL)" "$uv" pip install --python "$VENV/bin/python" -e "$extras" $flags -c requirements.lock && return 0
        say "  the versions of requirements.lock could not be installed; trying others"
        # shellcheck disable=SC2086
        step "Python packages ($LEVEL), not locked" "$uv" pip install --python "$VENV/bin/python" -e "$extras" $flags && return 0
    fi
    say "  trying again with pip"
    step "pip" "$VENV/bin/python" -m pip install -q --upgrade 'pip>=25.1' || true
    # shellcheck disable=SC2086
    step "Python packages ($LEVEL), by pip" "$VENV/bin/python" -m pip install -q -e "$extras" $flags ||
        fail "The Python packages could not be installed; is a package index reachable?"
}

# The servers that the API is measured against have an environment of their own: they pin what Baige does not.
peers() {
    [ "$LEVEL" = bench ] || return 0
    there="$ROOT/.tools/peers"
    "$there/bin/python" -c 'import pygeoapi, psycopg2, geoalchemy2, pygeofilter, tipg, uvicorn' >/dev/null 2>&1 && return 0
    rm -rf "$there"
    packages="pygeoapi==0.24.0 psycopg2-binary geoalchemy2 pygeofilter[backend-sqlalchemy] tipg==1.6.1 uvicorn httptools uvloop"
    uv="$VENV/bin/uv"
    [ -x "$uv" ] || uv=$(get_uv) || uv=uv
    # shellcheck disable=SC2086
    step "Environment of the servers to compare with" "$uv" venv --python "$VENV/bin/python" "$there" &&
        step "Servers to compare with: pygeoapi, TiPg" "$uv" pip install --python "$there/bin/python" $packages ||
        say "  they could not be installed; the API benchmark goes without them."
}

# For the test behind a proxy. Unpacked into .tools, not installed: a package would start a web server of its own.
proxy() {
    [ "$LEVEL" = run ] || have nginx || [ -x /usr/sbin/nginx ] || [ -x "$ROOT/.tools/nginx/usr/sbin/nginx" ] && return 0
    have apt-get && have dpkg && [ "${BAIGE_NO_APT:-0}" != 1 ] || return 0
    mkdir -p "$ROOT/.tools/nginx"
    step "nginx, unpacked into .tools" sh -c 'cd "$1" && apt-get download -q nginx && dpkg -x nginx_*.deb . && rm -f nginx_*.deb && ./usr/sbin/nginx -v' sh "$ROOT/.tools/nginx" ||
        { rm -rf "$ROOT/.tools/nginx"; say "  The test behind nginx is left out; install nginx for it."; }
}

browser() {
    [ "$LEVEL" = run ] || browser_there && return 0
    step "Chromium, by Playwright" "$VENV/bin/playwright" install chromium || say "  Browser tests need Chromium: install the package chromium."
}

# ---- clients ------------------------------------------------------------------------------------------------------------------

qgis_there() { [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import qgis.core, qgis.gui' >/dev/null 2>&1 </dev/null; }

client_tools() { # ogctests wants older libraries than Baige: an environment of its own inside .venv
    tools="$VENV/clients"
    if [ ! -x "$tools/bin/python" ]; then
        { [ -x "$VENV/bin/uv" ] && step "Virtual environment of client tests" "$VENV/bin/uv" venv --seed --python "$VENV/bin/python" "$tools"; } ||
            step "Virtual environment of client tests" "$VENV/bin/python" -m venv "$tools" || fail "No virtual environment for the client tests."
    fi
    index=$("$VENV/bin/python" -m pip config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
    [ -x "$VENV/bin/uv" ] && step "ogctests, schemathesis" "$VENV/bin/uv" pip install --python "$tools/bin/python" --group clients && return 0
    step "ogctests, schemathesis (by pip)" sh -c '"$1" -m pip install -q --upgrade "pip>=25.1" && "$1" -m pip install -q --group clients' sh "$tools/bin/python" ||
        fail "The test tools could not be installed; is a package index reachable?"
}

if [ "$CLIENTS" = 1 ]; then
    LOG="$ROOT/out/setup-clients.log"
    mkdir -p "$(dirname "$LOG")"
    : >"$LOG"
    if ! qgis_there; then
        may_install || fail "QGIS is missing: sudo apt-get install --no-install-recommends python3-qgis qgis-providers"
        step "Package lists (apt-get update)" $SUDO apt-get update -q || say "  continuing with the lists at hand"
        step "System packages: python3-qgis qgis-providers (about 200 MB)" apt_install python3-qgis qgis-providers || fail "QGIS could not be installed."
        qgis_there || fail "QGIS is installed, but /usr/bin/python3 cannot import it."
    fi
    [ "$(cat "$VENV/.baige-clients" 2>/dev/null)" = "$ROOT $(fingerprint)" ] && exit 0
    client_tools
    echo "$ROOT $(fingerprint)" >"$VENV/.baige-clients"
    exit 0
fi

# -------------------------------------------------------------------------------------------------------------------------------

satisfied && exit 0
mkdir -p "$(dirname "$LOG")"
: >"$LOG"
say "Setting up Baige ($LEVEL) in $ROOT; details go to out/setup.log"
system_packages
make_venv
rm -f "$VENV"/.baige-*
install_packages
peers
browser
proxy
echo "$ROOT $(fingerprint)" >"$VENV/.baige-$LEVEL"
[ "$LEVEL" = run ] || echo "$ROOT $(fingerprint)" >"$VENV/.baige-run"
[ "$LEVEL" != bench ] || echo "$ROOT $(fingerprint)" >"$VENV/.baige-test"
say "Set up in $(($(date +%s) - STARTED)) s."
