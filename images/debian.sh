#!/bin/sh
# Writes the root file system of a base image to stdout, as a tar: Debian with one Python, made by mmdebstrap. Needs root.
#
# usage: debian.sh PYTHON VARIANT [OVERLAY]
#   PYTHON   3.9, 3.11 or 3.13: Debian's own; another version comes in OVERLAY, a tar made by machine-python.py
#   VARIANT  extract: packages are only unpacked (5 s, 80 MB); apt: installed, with apt itself (30 s, 160 MB)
set -eu
python=$1
variant=$2
overlay=${3:-}

case $python in
  3.9) suite=bullseye packages=python3-minimal,libpython3-stdlib,python3-distutils,python-pip-whl ;;
  3.11) suite=bookworm packages=python3-minimal,libpython3-stdlib,python3-distutils,python3-pip-whl ;;
  3.13) suite=trixie packages=python3-minimal,libpython3-stdlib,python3-pip-whl ;;
  # The newest C library: an interpreter built on this machine needs one at least as new as this machine's.
  *) suite=trixie packages=libc-bin ;;
esac
# Compiled wheels take the C++ runtime for granted.
packages=$packages,ca-certificates,libstdc++6
if [ "$variant" = extract ]; then
  packages=$packages,base-files,base-passwd,coreutils,dash,libc-bin,findutils
fi

# mmdebstrap runs no customize hooks for the variant extract.
if [ "$variant" = extract ]; then hook=--extract-hook; else hook=--customize-hook; fi
set -- --variant="$variant" --include="$packages" --aptopt='Acquire::Languages "none"'
# What package scripts would have made, had they run.
set -- "$@" "$hook=test -e \"\$1/etc/passwd\" || cp \"\$1/usr/share/base-passwd/passwd.master\" \"\$1/etc/passwd\""
set -- "$@" "$hook=test -e \"\$1/etc/group\" || cp \"\$1/usr/share/base-passwd/group.master\" \"\$1/etc/group\""
set -- "$@" "$hook=mkdir -p \"\$1/etc/ssl/certs\" \"\$1/usr/local/bin\""
set -- "$@" "$hook=cat \"\$1\"/usr/share/ca-certificates/mozilla/*.crt > \"\$1/etc/ssl/certs/ca-certificates.crt\""
# What nobody reads in a container.
set -- "$@" "$hook=rm -rf \"\$1/usr/share/man\" \"\$1/usr/share/doc\" \"\$1/usr/share/locale\" \"\$1/usr/share/info\""
if [ -n "$overlay" ]; then
  set -- "$@" "$hook=tar -x -C \"\$1\" -f '$overlay'" "$hook=chroot \"\$1\" ldconfig"
fi
exec mmdebstrap "$@" "$suite" -
