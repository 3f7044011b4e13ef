//! Enforces the module boundaries: imports point to a lower floor, and no two modules import each other, except a module
//! and its children. Re-exports are followed to the module that defines the item.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The top-level modules of the server from the ground up. A module may import those of lower floors only.
const FLOORS: [&[&str]; 14] = [
    &["words"],
    &[
        "error",
        "files",
        "heartbeat",
        "os",
        "statistics",
        "suggest",
        "values",
    ],
    &["file_backed", "memory", "metrics", "toml_text", "work"],
    &["config", "spans"],
    &["log", "storage"],
    &["models"],
    &["features", "observe"],
    &["scoring"],
    &["record"],
    &["lifecycle"],
    &["app"],
    &["api"],
    &["server"],
    &["cli"],
];

/// The top-level modules of the engine from the ground up.
const ENGINE_FLOORS: [&[&str]; 7] = [
    &[
        "number",
        "output",
        "precision",
        "random_source",
        "summary",
        "transform",
    ],
    &["category", "ensemble"],
    &["builder"],
    &["kernel"],
    &["contributions", "fuzzing", "load"],
    &["document", "path", "predict", "sensitivity"],
    &["format"],
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

/// Every path of a `use` tree with the name that it gets: `a::{b, c::d as e}` is `a::b` as `b` and `a::c::d` as `e`.
fn expand(prefix: &str, tree: &str, out: &mut Vec<(String, String)>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let name = name.rsplit("::").next().unwrap_or(name);
        return out.push((format!("{prefix}{path}"), name.to_owned()));
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

/// A path that a file names.
struct NamedPath {
    line: usize,
    path: String,
    /// The name under which others find it here, if the file re-exports it.
    exported: Option<String>,
}

/// The tree of a `use` declaration, and whether it re-exports: `pub use …`, `pub(in …) use …`.
fn declaration(code: &str) -> Option<(&str, bool)> {
    let code = code.trim_start();
    let Some(rest) = code.strip_prefix("pub") else {
        return code.strip_prefix("use ").map(|tree| (tree, false));
    };
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    rest.trim_start().strip_prefix("use ").map(|tree| (tree, true))
}

/// The paths that a file names: `use` declarations, and `crate::…` or `super::…` in the code.
fn paths(text: &str) -> Vec<NamedPath> {
    let mut found = Vec::new();
    // Tests may use anything: they come last in a file.
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line_number = number + 1;
        let code = line.split("//").next().unwrap_or_default();
        if let Some((tree, exports)) = declaration(code) {
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                tree.push_str(lines.next().map_or(";", |(_, line)| line.trim()));
            }
            let mut expanded = Vec::new();
            expand("", tree.trim_end_matches(';'), &mut expanded);
            found.extend(expanded.into_iter().map(|(path, name)| NamedPath {
                line: line_number,
                path,
                exported: exports.then_some(name),
            }));
            continue;
        }
        for start in ["crate::", "super::"] {
            let inline = code.match_indices(start).map(|(at, _)| {
                let path = code[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                path.into_iter().next().unwrap_or_default().to_owned()
            });
            // `super::super::x` is one path: the second `super` does not start another.
            let whole = inline.filter(|path| start == "crate::" || !path.contains("crate::"));
            found.extend(whole.map(|path| NamedPath {
                line: line_number,
                path,
                exported: None,
            }));
        }
    }
    found
}

/// The files of a crate by module, and what they re-export.
struct Tree {
    modules: BTreeMap<Module, (String, Vec<NamedPath>)>,
}

impl Tree {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        sources(root, &mut files);
        // Tests may use anything, in a file of their own too.
        files.retain(|file| !file.ends_with("tests.rs"));
        let read = |file: PathBuf| {
            let text = std::fs::read_to_string(&file).unwrap();
            (module(root, &file), file.display().to_string(), text)
        };
        Self::new(files.into_iter().map(read))
    }

    fn new(files: impl IntoIterator<Item = (Module, String, String)>) -> Self {
        let modules = files
            .into_iter()
            .map(|(module, file, text)| (module, (file, paths(&text))));
        Self {
            modules: modules.collect(),
        }
    }

    /// The module where the item of `path` is defined, seen from `current`: re-exports are followed. `None` for other
    /// crates.
    fn resolve(&self, path: &str, current: &Module) -> Option<Module> {
        let mut parts = path.split("::").peekable();
        let mut target = current.clone();
        match *parts.peek()? {
            "crate" => target.clear(),
            "super" | "self" => {}
            first => {
                target.push(first.to_owned());
                if !self.modules.contains_key(&target) {
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
                    if !self.modules.contains_key(&target) {
                        target.pop();
                        return Some(self.definition(&target, part).unwrap_or(target));
                    }
                }
            }
        }
        Some(target)
    }

    /// The module from which `module` re-exports `name`.
    fn definition(&self, module: &Module, name: &str) -> Option<Module> {
        let (_, paths) = self.modules.get(module)?;
        let export = paths.iter().find(|path| path.exported.as_deref() == Some(name))?;
        self.resolve(&export.path, module)
    }

    fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for (from, (file, paths)) in &self.modules {
            for NamedPath { line, path, .. } in paths {
                if let Some(to) = self.resolve(path, from) {
                    let place = format!("{file}:{line}: {path}");
                    let from = from.clone();
                    found.push(Import { place, from, to });
                }
            }
        }
        found
    }
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

/// Every import that does not point to a lower floor. Imports of the crate's root name items that it defines; it has
/// none but re-exports, which are followed.
fn upward(imports: &[Import], floors: &[&[&str]]) -> Vec<String> {
    let floor = |module: &Module| {
        let name = module.first()?;
        floors.iter().position(|floor| floor.contains(&name.as_str()))
    };
    let mut found = Vec::new();
    for import in imports {
        let same = import.from.first() == import.to.first();
        if import.from.is_empty() || import.to.is_empty() || same {
            continue;
        }
        match (floor(&import.from), floor(&import.to)) {
            (Some(from), Some(to)) if to < from => {}
            (Some(_), Some(_)) => found.push(import.place.clone()),
            _ => panic!("{}: a module without a floor; add it to the floors", import.place),
        }
    }
    found
}

#[test]
fn imports_point_to_lower_floors() {
    for (folder, floors) in [
        ("src", &FLOORS[..]),
        ("crates/evergreen-forest/src", &ENGINE_FLOORS[..]),
    ] {
        let upward = upward(&Tree::read(&root(folder)).imports(), floors);
        assert!(
            upward.is_empty(),
            "imports that do not point to a lower floor:\n{}",
            upward.join("\n")
        );
    }
}

#[test]
fn no_module_imports_itself_through_others() {
    for folder in ["src", "crates/evergreen-forest/src"] {
        let cycles = cycles(&Tree::read(&root(folder)).imports());
        assert!(
            cycles.is_empty(),
            "imports that close a cycle:\n{}",
            cycles.join("\n")
        );
    }
}

#[test]
fn the_architecture_page_prints_the_same_floors() {
    let page = std::fs::read_to_string(root("ARCHITECTURE.md")).unwrap();
    for (index, modules) in FLOORS.iter().enumerate() {
        let start = format!("| {} | ", index + 1);
        let row = page.lines().find_map(|line| line.strip_prefix(&start));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row of floor {}", index + 1));
        let names = row
            .split(':')
            .next()
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2);
        assert_eq!(names.collect::<Vec<_>>(), *modules, "floor {}", index + 1);
    }
}

/// A small crate: the text of each module, by its path.
fn tree(modules: &[(&str, &str)]) -> Tree {
    Tree::new(modules.iter().map(|(path, text)| {
        let module = path.split("::").filter(|part| !part.is_empty());
        (
            module.map(str::to_owned).collect(),
            (*path).to_owned(),
            (*text).to_owned(),
        )
    }))
}

#[test]
fn upward_paths_are_found() {
    let crate_tree = tree(&[
        ("", ""),
        ("low", "use crate::high::Thing;"),
        (
            "low::inner",
            "fn f() { crate::high::call(); super::super::high::deep::call() }",
        ),
        (
            "high",
            "use crate::low::Fine;\npub(in crate::high) use deep::Thing;",
        ),
        ("high::deep", "#[cfg(test)]\nmod tests { use crate::low::Any; }"),
    ]);
    let found = upward(&crate_tree.imports(), &[&["low"], &["high"]]);
    assert_eq!(
        found,
        [
            "low:1: crate::high::Thing",
            "low::inner:1: crate::high::call",
            "low::inner:1: super::super::high::deep::call",
        ]
    );
}

#[test]
fn a_cycle_through_a_reexport_is_found() {
    // The facade re-exports what its child defines, and the child opens what uses the facade.
    let crate_tree = tree(&[
        (
            "facade",
            "mod child;\npub(in crate::x) use child::{Other, Trait as Port};",
        ),
        ("facade::child", "use crate::user::User;"),
        ("user", "use crate::facade::Port;"),
    ]);
    assert_eq!(
        cycles(&crate_tree.imports()),
        [
            "facade::child:1: crate::user::User",
            "user:1: crate::facade::Port"
        ]
    );
}

#[test]
fn a_cycle_of_three_is_found() {
    let crate_tree = tree(&[
        ("a", "use crate::b::{self, B};\nuse crate::d;"),
        ("b", "use crate::c::C as D;"),
        ("c", "use super::a::A;"),
        ("d", ""),
    ]);
    assert_eq!(
        cycles(&crate_tree.imports()),
        [
            "a:1: crate::b::self",
            "a:1: crate::b::B",
            "b:1: crate::c::C",
            "c:1: super::a::A"
        ]
    );
}
