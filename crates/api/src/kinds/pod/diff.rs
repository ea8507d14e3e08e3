//! The difference of two values as Kubernetes prints it: a unified diff of their indented JSON, three lines of context.
//!
//! Upstream uses a port of Python's difflib; so that hunks fall the same, this is its algorithm: the longest common block,
//! then the same left and right of it. Lines that are too common are no anchors in long texts.
use super::internal::Node;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const CONTEXT: usize = 3;

/// `k8s.io/apimachinery/pkg/util/diff`: hunks without file names, empty for what is the same.
pub fn unified(old: &Node, new: &Node) -> String {
    let (old, new) = (lines(old), lines(new));
    let mut out = String::new();
    for group in groups(&opcodes(&old, &new), CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (a, b) = (range(first.a.0, last.a.1), range(first.b.0, last.b.1));
        out.push_str(&format!("@@ -{a} +{b} @@\n"));
        for op in &group {
            let mut print = |sign: char, lines: &[String], (from, to): (usize, usize)| {
                for line in lines.get(from..to).unwrap_or_default() {
                    let _ = writeln!(out, "{sign}{line}");
                }
            };
            if op.equal {
                print(' ', &old, op.a);
            } else {
                print('-', &old, op.a);
                print('+', &new, op.b);
            }
        }
    }
    out
}

/// Lines from 1, as unified diffs count: `5`, `5,2`, `4,0`.
fn range(start: usize, stop: usize) -> String {
    match stop.saturating_sub(start) {
        0 => format!("{start},0"),
        1 => start.saturating_add(1).to_string(),
        length => format!("{},{length}", start.saturating_add(1)),
    }
}

/// Go's `json.MarshalIndent(value, "", " ")`.
fn lines(node: &Node) -> Vec<String> {
    let mut text = String::new();
    write(node, 0, &mut text);
    text.lines().map(str::to_owned).collect()
}

fn write(node: &Node, depth: usize, out: &mut String) {
    let newline = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    let inner = depth.saturating_add(1);
    match node {
        Node::Plain(value) => out.push_str(&escape(&value.to_string())),
        Node::List(items) if items.is_empty() => out.push_str("[]"),
        Node::Fields(fields) if fields.is_empty() => out.push_str("{}"),
        Node::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                newline(inner, out);
                write(item, inner, out);
            }
            newline(depth, out);
            out.push(']');
        }
        Node::Fields(fields) => {
            out.push('{');
            for (i, (name, value)) in fields.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                newline(inner, out);
                out.push_str(&escape(&serde_json::Value::from(name.as_str()).to_string()));
                out.push_str(": ");
                write(value, inner, out);
            }
            newline(depth, out);
            out.push('}');
        }
    }
}

/// Go makes JSON safe for HTML.
fn escape(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Lines `a` of the old text and `b` of the new: the same, or one in the other's place.
#[derive(Clone, Copy, Debug)]
struct Op {
    equal: bool,
    a: (usize, usize),
    b: (usize, usize),
}

fn opcodes(a: &[String], b: &[String]) -> Vec<Op> {
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (at_a, at_b, size) in matching_blocks(a, b) {
        if i < at_a || j < at_b {
            out.push(Op { equal: false, a: (i, at_a), b: (j, at_b) });
        }
        i = at_a.saturating_add(size);
        j = at_b.saturating_add(size);
        if size > 0 {
            out.push(Op { equal: true, a: (at_a, i), b: (at_b, j) });
        }
    }
    out
}

/// Changes with `n` lines around them; what lies further apart than twice that is another group.
fn groups(ops: &[Op], n: usize) -> Vec<Vec<Op>> {
    let mut ops = ops.to_vec();
    if let Some(first) = ops.first_mut().filter(|op| op.equal) {
        first.a.0 = first.a.0.max(first.a.1.saturating_sub(n));
        first.b.0 = first.b.0.max(first.b.1.saturating_sub(n));
    }
    if let Some(last) = ops.last_mut().filter(|op| op.equal) {
        last.a.1 = last.a.1.min(last.a.0.saturating_add(n));
        last.b.1 = last.b.1.min(last.b.0.saturating_add(n));
    }
    let (mut out, mut group) = (Vec::new(), Vec::new());
    for mut op in ops {
        if op.equal && op.a.1.saturating_sub(op.a.0) > n.saturating_mul(2) {
            let end = |(from, to): (usize, usize)| (from, to.min(from.saturating_add(n)));
            group.push(Op { equal: true, a: end(op.a), b: end(op.b) });
            out.push(std::mem::take(&mut group));
            op.a.0 = op.a.0.max(op.a.1.saturating_sub(n));
            op.b.0 = op.b.0.max(op.b.1.saturating_sub(n));
        }
        group.push(op);
    }
    if group.iter().any(|op| !op.equal) {
        out.push(group);
    }
    out.retain(|group| group.iter().any(|op| !op.equal));
    out
}

/// Where each line stands in the new text, without those that are too common to mean anything.
fn positions(b: &[String]) -> BTreeMap<&str, Vec<usize>> {
    let mut out: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, line) in b.iter().enumerate() {
        out.entry(line).or_default().push(i);
    }
    if b.len() >= 200 {
        let most = b.len() / 100 + 1;
        out.retain(|_, places| places.len() <= most);
    }
    out
}

/// The blocks that both texts have, in order, adjacent ones joined; last one of size 0 at the end of both.
fn matching_blocks(a: &[String], b: &[String]) -> Vec<(usize, usize, usize)> {
    let places = positions(b);
    let mut found = Vec::new();
    let mut todo = vec![((0, a.len()), (0, b.len()))];
    while let Some((in_a, in_b)) = todo.pop() {
        let (i, j, size) = longest_match(a, b, &places, in_a, in_b);
        if size == 0 {
            continue;
        }
        found.push((i, j, size));
        let (after_a, after_b) = (i.saturating_add(size), j.saturating_add(size));
        todo.push(((in_a.0, i), (in_b.0, j)));
        todo.push(((after_a, in_a.1), (after_b, in_b.1)));
    }
    found.sort_unstable();
    let mut out: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, size) in found {
        match out.last_mut() {
            Some(last) if last.0.saturating_add(last.2) == i && last.1.saturating_add(last.2) == j => {
                last.2 = last.2.saturating_add(size);
            }
            _ => out.push((i, j, size)),
        }
    }
    out.push((a.len(), b.len(), 0));
    out
}

/// The longest block common to both ranges; of several, the first in `a`, then in `b`.
fn longest_match(
    a: &[String],
    b: &[String],
    places: &BTreeMap<&str, Vec<usize>>,
    in_a: (usize, usize),
    in_b: (usize, usize),
) -> (usize, usize, usize) {
    let mut best = (in_a.0, in_b.0, 0);
    // Length of the common block that ends at line j of `b` and the line of `a` looked at last.
    let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, line) in a.iter().enumerate().take(in_a.1).skip(in_a.0) {
        let mut now = BTreeMap::new();
        for j in places.get(line.as_str()).into_iter().flatten().copied().filter(|j| (in_b.0..in_b.1).contains(j)) {
            let before = j.checked_sub(1).and_then(|j| lengths.get(&j)).copied().unwrap_or_default();
            let length = before.saturating_add(1);
            now.insert(j, length);
            if length > best.2 {
                best = (i.saturating_add(1).saturating_sub(length), j.saturating_add(1).saturating_sub(length), length);
            }
        }
        lengths = now;
    }
    extend(a, b, in_a, in_b, best)
}

/// Common lines are no anchors, but they belong to a block beside one.
fn extend(
    a: &[String],
    b: &[String],
    in_a: (usize, usize),
    in_b: (usize, usize),
    (mut i, mut j, mut size): (usize, usize, usize),
) -> (usize, usize, usize) {
    let same = |i: Option<usize>, j: Option<usize>| match (i, j) {
        (Some(i), Some(j)) => a.get(i).is_some_and(|line| b.get(j) == Some(line)),
        _ => false,
    };
    while i > in_a.0 && j > in_b.0 && same(i.checked_sub(1), j.checked_sub(1)) {
        i = i.saturating_sub(1);
        j = j.saturating_sub(1);
        size = size.saturating_add(1);
    }
    loop {
        let (end_a, end_b) = (i.saturating_add(size), j.saturating_add(size));
        if end_a < in_a.1 && end_b < in_b.1 && same(Some(end_a), Some(end_b)) {
            size = size.saturating_add(1);
        } else {
            return (i, j, size);
        }
    }
}
