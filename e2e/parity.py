"""Runs each line of a file with two kubectls and compares stdout, stderr and exit code.

parity.py KUBECTL OURS LINES [REGEX]: only lines that match REGEX, and with their differences printed whole.

Ages, times and what differs between any two runs are made the same. Lines below `## write` run in a namespace for each (par-a, par-b), the
others see the same objects. Below `## write together` both run at the same time, and so do the sections that begin with `#`. `~` at the
beginning of a line: only exit code and whether something was said are compared.
"""
import concurrent.futures
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

real, ours, lines, *only = sys.argv[1:]
NOISE = [
    (re.compile(r"/tmp/\w+/par(-[ab])?"), "CONFIG"),
    (re.compile(r"par-[ab]"), "par-x"),
    (re.compile(r"hollow-[12]"), "hollow-n"),
    (re.compile(r"\b(twins|local|guarded)-[0-9a-z]{8,10}-[0-9a-z]{5}\b"), r"\1-POD"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"(\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d)"), "DATE"),
    (re.compile(r"\b(\d+[smhd]){1,2}\b"), "AGE"),
    (re.compile(r'("?(resourceVersion|uid|generation)"?: ?)"?[\w-]+"?'), r"\1X"),
    (re.compile(r"(Resource Version|UID): +\S+"), r"\1: X"),
    (re.compile(r"memcache.go.*\n"), ""),
    # Where in a text that is no YAML the parser gives up; the line in the log of client-go.
    (re.compile(r"yaml: line \d+: .*"), "yaml: line N: WHY"),
    (re.compile(r"E\d{4} .*\n"), ""),
    (re.compile(r"error: an error occurred forwarding .*\n"), ""),
]
# Seconds after which a line is named: a test should not wait for nothing.
SLOW = 10
# Sections at the same time.
SECTIONS = 4


def run(program, line, namespace):
    path = os.path.dirname(program) + ":" + os.environ["PATH"]
    env = dict(os.environ, NAMESPACE=namespace, NODE=nodes[namespace], KUBECONFIG=configs[namespace], PATH=path)
    command = ["timeout", "45", "bash", "-c", line]
    done = subprocess.run(command, env=env, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def configure(namespace):
    """A kubeconfig whose context is in this namespace."""
    path = os.path.join(work, namespace)
    with open(path, "wb") as file:
        file.write(subprocess.run([real, "config", "view", "--raw"], capture_output=True, check=True).stdout)
    set_namespace = [real, "--kubeconfig", path, "config", "set-context", "--current", f"--namespace={namespace}"]
    subprocess.run(set_namespace, capture_output=True, check=True)
    return path


def plain(text):
    for pattern, replacement in NOISE:
        text = pattern.sub(replacement, text)
    return text


def compare(line, writes, together):
    loose = line.startswith("~")
    line = line.lstrip("~ ")
    both = [(real, line, "par-a" if writes else "par"), (ours, line, "par-b" if writes else "par")]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        theirs, mine = (pool.map if together else map)(lambda each: run(*each), both)
    if loose:
        same = theirs[0] == mine[0] and bool(theirs[1]) == bool(mine[1])
    else:
        same = theirs[0] == mine[0] and plain(theirs[1]) == plain(mine[1]) and plain(theirs[2]) == plain(mine[2])
    return same, theirs, mine


def judge(section):
    """All lines of a section, one after the other: what came of each, and how long it took."""
    results = []
    for line, writes, together in section:
        began = time.monotonic()
        # An age that turns into another between the two runs moves columns: look again.
        for _ in range(1 if writes else 3):
            result = compare(line, writes, together)
            if result[0]:
                break
        results.append((line, time.monotonic() - began, *result))
    return results


def show(line, theirs, mine):
    print(f"FAIL {line}")
    if theirs[0] != mine[0]:
        print(f"  exit code {theirs[0]}, ours {mine[0]}")
    for stream in (1, 2):
        name = ["", "stdout", "stderr"][stream]
        a, b = plain(theirs[stream]).splitlines(), plain(mine[stream]).splitlines()
        diff = list(difflib.unified_diff(a, b, f"{name} kubectl", f"{name} ours", lineterm="", n=0))
        for text in diff if only else diff[:30]:
            print(f"  {text[:300]}")


work = tempfile.mkdtemp()
nodes = {"par": "hollow-0", "par-a": "hollow-1", "par-b": "hollow-2"}
if "NODE" in os.environ:
    nodes = dict.fromkeys(nodes, os.environ["NODE"])
configs = {namespace: configure(namespace) for namespace in ("par", "par-a", "par-b")}
sections, writes, together = [[]], False, False
for line in open(lines, encoding="utf-8"):
    line = line.rstrip("\n")
    if line.startswith("## write"):
        writes, together = True, line == "## write together"
    if together and line.startswith("#"):
        sections.append([])
    if line and not line.startswith("#") and (not only or re.search(only[0], line)):
        sections[-1].append((line, writes, together))
passed, failed = 0, 0
with concurrent.futures.ThreadPoolExecutor(SECTIONS) as pool:
    for line, seconds, same, theirs, mine in (result for results in pool.map(judge, sections) for result in results):
        if seconds > SLOW:
            print(f"took {seconds:.0f} s: {line}")
        if same:
            passed += 1
        else:
            failed += 1
            show(line, theirs, mine)
shutil.rmtree(work)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
