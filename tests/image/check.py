"""Starts an image as its configuration says, on a read-only file system, and sends requests.

    python3 tests/image/check.py IMAGE

Run it as root, with buildah. The image's ports must be free on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status, answer.read().decode()


def main(image):
    inspected = json.loads(output("buildah", "inspect", "--type", "image", image))
    config = inspected["Docker"]["config"]
    print("configuration:", json.dumps(config, indent=1))
    user, labels = config["User"], config["Labels"]
    assert user == "65532:65532" and config["Healthcheck"]["Test"][0] == "CMD"
    assert {"title", "version", "revision", "licenses"} <= {key.rpartition(".")[2] for key in labels}
    assert sorted(config["ExposedPorts"]) == ["8080/tcp", "8081/tcp", "8082/tcp"]
    container = output("buildah", "from", "--pull-never", image)
    try:
        check(output("buildah", "mount", container), config)
    finally:
        output("buildah", "umount", container)
        output("buildah", "rm", container)


def check(root, config):
    files = [path for path in Path(root).rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    print(f"size: {size / 1e6:.1f} MB in {len(files)} files, uncompressed")
    for path in sorted(files, key=lambda path: -path.stat().st_size)[:8]:
        print(f"  {path.stat().st_size / 1e6:7.2f} MB  /{path.relative_to(root)}")
    environment = dict(entry.split("=", 1) for entry in config["Env"] or [])
    # The root becomes read-only except for /tmp, as `docker run --read-only --tmpfs /tmp` makes it.
    script = (
        f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && mount -t tmpfs -o mode=1777 tmpfs {root}/tmp"
        f' && exec chroot --userspec={config["User"]} {root} "$@"'
    )

    def inside(*words):
        return ["unshare", "--mount", "sh", "-c", script, "sh", *words]

    def healthy():
        return subprocess.run(
            inside(*config["Healthcheck"]["Test"][1:]), env=environment, capture_output=True
        ).returncode

    assert healthy() == 1, "nothing runs yet, and the health check says that it does"
    entry = config["Entrypoint"] + config["Cmd"]
    # A chroot has no working directory; the image's models are in its working directory.
    options = ["--models", f"{config['WorkingDir']}/models"]
    start = time.perf_counter()
    process = subprocess.Popen(inside(*entry, *options), env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while True:
            assert process.poll() is None and time.perf_counter() - start < 30, process.stderr.read()
            try:
                get("http://127.0.0.1:8082/readyz")
                break
            except OSError:
                time.sleep(0.002)
        print(f"ready after {(time.perf_counter() - start) * 1e3:.0f} ms")
        time.sleep(1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        [resident] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        [ids] = [line.split()[1:] for line in status.splitlines() if line.startswith("Uid")]
        assert set(ids) == {config["User"].split(":")[0]}, ids
        print(f"resident: {resident / 1024:.1f} MB, as user {ids[0]}")
        assert healthy() == 0
        print("score:", get("http://127.0.0.1:8080/v1/models/churn/scores/C-1042")[1])
        assert not os.listdir(f"{root}/tmp")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        print("stopped with exit code 0")
    finally:
        if process.poll() is None:
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1])
