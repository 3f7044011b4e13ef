//! Enforces the module boundaries: imports point to a lower floor, and no two modules import each other, except a module
//! and its children. `ARCHITECTURE.md` prints the same floors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The top-level modules of the server from the ground up. A module may import those of lower floors only.
const FLOORS: [&[&str]; 12] = [
    &["error", "os", "suggest", "values"],
    &["file_backed", "metrics", "toml_text"],
    &["config"],
    &["log", "storage"],
    &["models"],
    &["features"],
    &["scoring"],
    &["lifecycle"],
    &["app"],
    &["api"],
    &["server"],
    &["cli"],
];

/// A module by its path, such as `["features", "plan"]`; the crate's root is empty.
type Module = Vec<String>;

/// An import: where it stands, and the module that it reaches.
struct Import {
    place: String,
    from: Module,
    to: Module,
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn module(root: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(root).unwrap().with_extension("");
    let parts = path.iter().map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| part != "lib" && part != "main").collect()
}

/// Every path of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return out.push(format!("{prefix}{}", tree.split(" as ").next().unwrap_or(tree)));
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let body = &tree[open + 1..tree.rfind('}').unwrap()];
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in body.char_indices().chain([(body.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !body[start..at].trim().is_empty() {
                    expand(&prefix, &body[start..at], out);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The paths that a file names, with their lines: `use` declarations, and `crate::…` or `super::…` in the code.
fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Tests may use anything: they come last in a file.
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let code = line.split("//").next().unwrap_or_default();
        let declaration = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
        let tree = declaration
            .iter()
            .find_map(|start| code.trim_start().strip_prefix(start));
        if let Some(tree) = tree {
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                tree.push_str(lines.next().map_or(";", |(_, line)| line.trim()));
            }
            let mut expanded = Vec::new();
            expand("", tree.trim_end_matches(';'), &mut expanded);
            found.extend(expanded.into_iter().map(|path| (number + 1, path)));
            continue;
        }
        for start in ["crate::", "super::"] {
            let inline = code.match_indices(start).map(|(at, _)| {
                let path = code[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                (number + 1, path.into_iter().next().unwrap_or_default().to_owned())
            });
            found.extend(inline.filter(|(_, path)| !path.starts_with("crate::") || start == "crate::"));
        }
    }
    found
}

/// The longest known module that `path` leads to from `current`; `None` for other crates.
fn resolve(path: &str, current: &Module, known: &BTreeSet<Module>) -> Option<Module> {
    let mut parts = path.split("::").peekable();
    let mut target = current.clone();
    match *parts.peek()? {
        "crate" => target.clear(),
        "super" | "self" => {}
        first => {
            target.push(first.to_owned());
            if !known.contains(&target) {
                return None;
            }
            target.pop();
        }
    }
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(target.pop()),
            part => {
                target.push(part.to_owned());
                if !known.contains(&target) {
                    target.pop();
                    break;
                }
            }
        }
    }
    Some(target)
}

fn imports(root: &Path) -> Vec<Import> {
    let mut files = Vec::new();
    sources(root, &mut files);
    files.sort();
    let known: BTreeSet<Module> = files.iter().map(|file| module(root, file)).collect();
    let mut found = Vec::new();
    for file in &files {
        let from = module(root, file);
        for (line, path) in paths(&std::fs::read_to_string(file).unwrap()) {
            if let Some(to) = resolve(&path, &from, &known) {
                let place = format!("{}:{line}: {path}", file.display());
                found.push(Import {
                    place,
                    from: from.clone(),
                    to,
                });
            }
        }
    }
    found
}

/// Whether one module is the other, or contains it.
fn is_related(a: &Module, b: &Module) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Every import that closes a cycle: its target reaches back to where it stands.
fn cycles(imports: &[Import]) -> Vec<String> {
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for import in imports
        .iter()
        .filter(|import| !is_related(&import.from, &import.to))
    {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    let reaches = |start: &Module, goal: &Module| {
        let (mut open, mut seen) = (vec![start], BTreeSet::new());
        while let Some(module) = open.pop() {
            if module == goal {
                return true;
            }
            if seen.insert(module) {
                open.extend(edges.get(module).into_iter().flatten());
            }
        }
        false
    };
    let unrelated = imports
        .iter()
        .filter(|import| !is_related(&import.from, &import.to));
    let closing = unrelated.filter(|import| reaches(&import.to, &import.from));
    closing.map(|import| import.place.clone()).collect()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn imports_point_to_lower_floors() {
    let floor = |module: &Module| {
        let name = module.first()?;
        FLOORS.iter().position(|floor| floor.contains(&name.as_str()))
    };
    let mut upward = Vec::new();
    for import in imports(&root("src")) {
        let same = import.from.first() == import.to.first();
        if import.from.is_empty() || import.to.is_empty() || same {
            continue;
        }
        let (Some(from), Some(to)) = (floor(&import.from), floor(&import.to)) else {
            panic!("{}: a module without a floor; add it to FLOORS", import.place);
        };
        if to >= from {
            upward.push(import.place);
        }
    }
    assert!(
        upward.is_empty(),
        "imports that do not point to a lower floor:\n{}",
        upward.join("\n")
    );
}

#[test]
fn no_module_imports_itself_through_others() {
    for folder in ["src", "crates/evergreen-forest/src"] {
        let cycles = cycles(&imports(&root(folder)));
        assert!(
            cycles.is_empty(),
            "imports that close a cycle:\n{}",
            cycles.join("\n")
        );
    }
}

#[test]
fn a_cycle_and_an_upward_path_are_found() {
    let import = |from: &str, to: &str| Import {
        place: format!("{from} -> {to}"),
        from: vec![from.to_owned()],
        to: vec![to.to_owned()],
    };
    let found = cycles(&[
        import("a", "b"),
        import("b", "c"),
        import("c", "a"),
        import("a", "d"),
    ]);
    assert_eq!(found, ["a -> b", "b -> c", "c -> a"]);
    let mut paths = Vec::new();
    expand("", "a::{b, c::{d, self}, e as f}", &mut paths);
    assert_eq!(paths, ["a::b", "a::c::d", "a::c::self", "a::e"]);
}
