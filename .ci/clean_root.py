"""Run the Dockerfile's steps in a clean Debian root, where no image can be pulled.

    sudo python .ci/clean_root.py [--target STAGE] [--share PATH ...] [--keep DIR]

debootstrap makes the root, of the release in the name of the Dockerfile's base image, with Debian's
own Python in place of the image's. The steps are read from the Dockerfile: FROM, ARG, ENV, WORKDIR,
COPY (of what git tracks), RUN and USER. Then `masquerade --version`, `doctor` and `demo` run there
as the image's user, without a network.

Packages come from where this machine gets them: apt's sources, pip's and npm's settings of the
environment and of `--share`, files and folders that appear in the root under their own paths.
It needs Debian's debootstrap, and root: mounts are made in a namespace that ends with the run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"  # what the base image has
SETTINGS = re.compile(r"(pip_|npm_config_).*|(https?|no|all)_proxy|.*_(cert|ca_certs).*", re.I)
SHARED = ("/etc/resolv.conf", "/etc/ssl/certs", "/etc/pip.conf", "/etc/xdg/pip", "/etc/npmrc")
INSIDE = "CLEAN_ROOT_INSIDE"
CHECKS = (("--version",), ("doctor",), ("demo",))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Step = tuple[str, str]
"""An instruction, such as RUN, and what follows it."""


@dataclass
class Stage:
    """One FROM of a Dockerfile, and the steps after it."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)


def read_dockerfile(text: str) -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first stage, with their defaults, and the stages."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(Template(base.strip()).substitute(arguments), name.strip()))
        elif not stages:
            name, _, value = rest.partition("=")
            arguments[name] = value
        else:
            stages[-1].steps.append((word, rest))
    return arguments, stages


def steps_of(stages: list[Stage], target: str | None) -> tuple[str, list[Step]]:
    """The base image of a stage, by default the last, and its steps, those it builds on first."""
    named = {stage.name: stage for stage in stages if stage.name}
    if target is not None and target not in named:
        raise SystemExit(f"there is no stage {target}; choose of {', '.join(named)}.")
    stage = named[target] if target else stages[-1]
    steps = stage.steps
    while stage.base in named:
        stage = named[stage.base]
        steps = stage.steps + steps
    return stage.base, steps


def mirror() -> str:
    """The first address of a Debian archive in this machine's apt sources."""
    for path in [*Path("/etc/apt").glob("sources.list.d/*.sources"), Path("/etc/apt/sources.list")]:
        text = path.read_text() if path.is_file() else ""
        found = re.search(r"^(?:URIs:|deb(?: \[.*\])?)\s+(\S+)", text, re.MULTILINE)
        if found:
            return found[1]
    raise SystemExit("apt has no source on this machine; add one to /etc/apt.")


class Image:
    """A root and what the steps so far have set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"PATH": PATH, "LANG": "C.UTF-8"}
        self.arguments: dict[str, str] = {}
        self.folder, self.user, self.entry = "/", "root", list[str]()

    def take(self, word: str, rest: str) -> None:
        """Do one step."""
        if word == "RUN":
            self.run(["sh", "-c", rest])
        elif word == "ARG":
            name, _, value = rest.partition("=")
            self.arguments[name] = os.environ.get(name, value)
        elif word == "ENV":
            known = self.env | self.arguments
            for one in shlex.split(rest):
                name, _, value = one.partition("=")
                self.env[name] = Template(value).substitute(known)
        elif word == "WORKDIR":
            self.folder = rest.strip()
            (self.root / self.folder[1:]).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            self.user = rest.strip()
        elif word == "COPY":
            self._copy(rest.split())
        elif word == "ENTRYPOINT":
            self.entry = json.loads(rest)
        else:
            raise SystemExit(f"{word} is a step that this script does not know; teach it.")

    def run(self, words: list[str], *, network: bool = True) -> None:
        """Run a command in the root as the image's user, with this machine's ways to packages."""
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        own = {name: value for name, value in os.environ.items() if SETTINGS.fullmatch(name)}
        alone = [] if network else ["unshare", "--net"]
        enter = ["chroot", f"--userspec={self.user}", str(self.root), "sh", "-c"]
        line = f"cd {shlex.quote(self.folder)} && exec {shlex.join(words)}"
        env = own | self.arguments | self.env | {"HOME": home}
        done = subprocess.run([*alone, *enter, line], env=env)
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode} of: {shlex.join(words)}")

    def _copy(self, words: list[str]) -> None:
        """Copy what git tracks, as a context without anything else."""
        owner = next((w.partition("=")[2] for w in words if w.startswith("--chown=")), "root")
        *sources, target = (word for word in words if not word.startswith("--"))
        listed = subprocess.check_output(
            ["git", "-c", "safe.directory=*", "ls-files", "-z", "--", *sources], cwd=REPOSITORY
        )
        names = [name for name in listed.decode().split("\0") if name]
        into = self.root / os.path.join(self.folder, target)[1:]
        for name in names:
            # a folder's content is copied, not the folder
            whole = next((s for s in sources if s != "." and name.startswith(f"{s}/")), None)
            path = into / (os.path.relpath(name, whole) if whole else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, path)
        if owner != "root":
            self._as_root(["chown", "-R", f"{owner}:", os.path.join(self.folder, target)])

    def _as_root(self, words: list[str]) -> None:
        subprocess.run(["chroot", str(self.root), *words], check=True, env=self.env)


def share(root: Path, paths: list[str]) -> None:
    """Show files and folders of this machine in the root, for reading."""
    for text in paths:
        path, there = Path(text).resolve(), root / text[1:]
        if not path.exists():
            continue
        if path.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.unlink(missing_ok=True)  # it may be a link
            there.touch()
        subprocess.run(["mount", "--bind", "-o", "ro", path, there], check=True)


def build(root: Path, options: argparse.Namespace) -> None:
    """Make the root, do the steps, and run what the image is for."""
    _, stages = read_dockerfile((REPOSITORY / "Dockerfile").read_text())
    base, steps = steps_of(stages, options.target)
    release = base.rpartition("-")[2]
    print(f"{base}: Debian's {release}", flush=True)
    made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(root)]
    subprocess.run([*made, mirror()], check=True, stdout=subprocess.DEVNULL)
    for name in ("proc", "dev"):
        subprocess.run(["mount", "--rbind", f"/{name}", root / name], check=True)
    share(root, [*SHARED, *options.share])
    root.chmod(0o755)  # so that the image's user gets in
    image = Image(root)
    for word, rest in steps:
        print(f"{word} {' '.join(rest.split())}", flush=True)
        image.take(word, rest)
    if image.entry != ["masquerade"]:
        return
    # as a folder that somebody mounts for the image's user
    image._as_root(["chown", f"{image.user}:", image.folder])
    for words in CHECKS:
        print(f"{image.entry[0]} {' '.join(words)}", flush=True)
        image.run([*image.entry, *words], network=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", help="a stage of the Dockerfile; by default the last")
    parser.add_argument("--share", action="append", default=[], metavar="PATH")
    parser.add_argument("--keep", type=Path, help="a new folder for the root, which is kept")
    options = parser.parse_args()
    if inside := os.environ.pop(INSIDE, ""):
        build(Path(inside), options)
        return
    if os.geteuid() or not shutil.which("debootstrap"):
        raise SystemExit("this needs root, and debootstrap: apt install debootstrap")
    if options.keep and options.keep.exists():
        raise SystemExit(f"{options.keep} exists already; name a new folder.")
    root = options.keep or Path(tempfile.mkdtemp(prefix="clean-root-", dir="/var/tmp"))
    apart = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
    try:
        done = subprocess.run(apart, env=os.environ | {INSIDE: str(root.absolute())})
    finally:
        if not options.keep:  # its mounts are gone with their namespace
            shutil.rmtree(root)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
