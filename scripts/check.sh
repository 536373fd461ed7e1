#!/bin/sh
# Every check and every suite. All are run even when one fails; the exit status tells whether all passed. Arguments go to pytest.
set -u
cd "$(dirname -- "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
export PATH PYTHONDONTWRITEBYTECODE=1
failed=""

check() {
    title=$1
    shift
    begun=$(date +%s)
    printf '\n── %s\n' "$title" >&2
    if "$@" </dev/null; then
        printf '✓ %s  %d s\n' "$title" $(($(date +%s) - begun)) >&2
    else
        printf '✗ %s  %d s\n' "$title" $(($(date +%s) - begun)) >&2
        failed="$failed $title,"
    fi
}

check "ruff" ruff check .
check "mypy" mypy
check "imports" lint-imports --no-cache
[ -z "$failed" ] || printf '\n✗ before the tests:%s see above\n' "${failed%,}" >&2
check "tests" python -m pytest "$@"
[ -z "$failed" ]
