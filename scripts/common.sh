# Shared by the scripts: a QGIS profile of our own in .profile, no display, and what has to be installed.
# Source it after `set -euo pipefail`.
# shellcheck shell=bash

root="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
profile="$root/.profile"
settings="$profile/profiles/default"
engine_environment="$settings/cadastral_vectorizer/environment"
engine_python="$engine_environment/bin/python"

export QGIS_CUSTOM_CONFIG_PATH="$profile"
export QT_QPA_PLATFORM=offscreen
export XDG_RUNTIME_DIR="$profile/run"
export PYTHONWARNINGS="ignore::DeprecationWarning"  # QGIS 3.22's own
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
# QGIS's Python looks for its library beside the first python3 on the PATH; one of pyenv or conda there breaks it.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"

say() { printf '\n==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        die "installing packages needs root rights; as root run: $*"
    fi
}

# Install the Debian or Ubuntu packages that are missing; quick and silent when none is.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q ' installed$' || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get > /dev/null || die "please install: ${missing[*]}"
    say "Installing with apt-get: ${missing[*]}"
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

# The engine needs Python 3.11 or newer; the distribution's own if it is that new.
python_packages() {
    if [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo python3-venv
    elif apt-cache show python3.11-venv > /dev/null 2>&1; then
        echo python3.11-venv
    else
        echo python3-venv
    fi
}

# QGIS's own qgis_process. Debian's wrapper adds options that qgis_process of 3.22 does not know.
find_qgis_process() {
    command -v qgis_process.bin || command -v qgis_process || die "qgis_process is missing; install QGIS"
}

qgis_process() {
    QGIS_OPTS="" "$(find_qgis_process)" "$@"
}

# QGIS, the profile, and the plugin in it under its real name.
set_up_qgis() {
    if ! command -v qgis_process > /dev/null; then
        say "QGIS is not installed; it comes from the distribution (about 1 GB)"
    fi
    # shellcheck disable=SC2046
    need_packages qgis qgis-providers python3-qgis $(python_packages)
    mkdir -p "$settings/python/plugins" "$XDG_RUNTIME_DIR"
    chmod 700 "$XDG_RUNTIME_DIR"
    ln -sfn "$root" "$settings/python/plugins/cadastral_vectorizer"
    if ! grep -qs '^cadastral_vectorizer=true' "$settings/QGIS/QGIS3.ini"; then
        qgis_process plugins enable cadastral_vectorizer > /dev/null
    fi
}

# The engine's environment, through the algorithm a user would run.
set_up_engine() {
    say "Engine environment (first time: a few minutes and up to 6 GB)"
    qgis_process run cadastral:setupenvironment -- "$@" >&2
}
