"""Writes the Python that runs this file to stdout as a tar, to be unpacked at / of a Debian root file system.

Taken: the interpreter, its standard library without tests and graphical parts, and the shared libraries both need.
Left out: installed packages, and the C library, which is the root file system's own. Libraries of the root file system
are found before the ones brought along: theirs fit its other programs.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile

VERSION = "%d.%d" % sys.version_info[:2]
LIBRARY_FOLDER = "usr/local/lib/python-libraries"
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "__pycache__"}
C_LIBRARY = re.compile(r"^(ld-linux.*|lib(c|m|dl|pthread|rt|util|resolv|nsl|anl))\.so\.\d+$")


def take(entry):
    if os.path.basename(entry.name) in LEFT_OUT or entry.name.endswith(".a"):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def shared_libraries(files):
    """Name and path of every shared library that `files` load, except the C library's."""
    found = {}
    for file in files:
        run = subprocess.run(["ldd", file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
        for name, path in re.findall(r"^\s*(\S+) => (/\S+)", run.stdout, re.MULTILINE):
            if not C_LIBRARY.match(name):
                found[name] = os.path.realpath(path)
    return found


def main():
    program = os.path.realpath(sys.executable)
    library = sysconfig.get_path("stdlib")
    modules = os.path.join(library, "lib-dynload")
    loaders = [program] + [os.path.join(modules, name) for name in os.listdir(modules) if name.endswith(".so")]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        archive.add(program, "usr/local/bin/python" + VERSION, filter=take)
        archive.add(library, "usr/local/lib/python" + VERSION, filter=take)
        for name, path in sorted(shared_libraries(loaders).items()):
            archive.add(path, LIBRARY_FOLDER + "/" + name, filter=take)
        # "zz": after the folders of the root file system itself.
        with open(os.path.join(sys.argv[1], "ld.so.conf"), "w") as conf:
            conf.write("/" + LIBRARY_FOLDER + "\n")
        archive.add(conf.name, "etc/ld.so.conf.d/zz-python.conf", filter=take)


main()
