//! Reads documented structs and enums from Rust sources that `rustfmt` has formatted, for reference pages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// A field of a struct, or of an enum's variant.
#[derive(Debug)]
pub(crate) struct Field {
    /// The key in a file.
    pub(crate) key: String,
    /// The type as the source writes it.
    pub(crate) kind: String,
    pub(crate) docs: String,
    /// It may be left out.
    pub(crate) optional: bool,
}

/// A struct or an enum.
#[derive(Debug)]
pub(crate) enum Item {
    Struct {
        docs: String,
        fields: Vec<Field>,
    },
    /// Variants as a file writes them, with their docs and fields.
    Enum {
        variants: Vec<(String, String)>,
    },
}

/// The items of some files, by name.
#[derive(Debug, Default)]
pub(crate) struct Items {
    items: BTreeMap<String, Item>,
    /// Docs of the entries of `kinds!`, by name.
    kinds: BTreeMap<String, String>,
}

/// A text as a cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("[`", "`").replace("`]", "`")
}

fn attribute(attributes: &str, name: &str) -> Option<String> {
    let rest = attributes.split_once(&format!("{name} = \""))?.1;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// Joins the lines of each attribute.
fn with_whole_attributes(text: &str) -> String {
    let mut out = String::new();
    let mut open = 0;
    for line in text.lines() {
        let inside = open > 0;
        if inside || line.trim_start().starts_with("#[") {
            open += line.matches('[').count();
            open -= line.matches(']').count().min(open);
        }
        out.push_str(if inside { line.trim() } else { line });
        if open == 0 {
            out.push('\n');
        }
    }
    out
}

fn cased(name: &str, attributes: &str) -> String {
    match attribute(attributes, "rename_all").as_deref() {
        Some("lowercase") => name.to_ascii_lowercase(),
        Some("kebab-case") => {
            let dashed = name.char_indices().map(|(at, c)| {
                let dash = if at > 0 && c.is_ascii_uppercase() { "-" } else { "" };
                format!("{dash}{}", c.to_ascii_lowercase())
            });
            dashed.collect()
        }
        _ => name.to_owned(),
    }
}

/// A value on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let pairs: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{key} = {}", inline(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        toml::Value::Array(values) => {
            let values: Vec<String> = values.iter().map(inline).collect();
            format!("[{}]", values.join(", "))
        }
        value => value.to_string(),
    }
}

/// Writes a text as a comment, wrapped.
fn comment(text: &str, mark: &str, page: &mut String) {
    let mut line = format!("{mark}#");
    for word in text.replace("[`", "`").replace("`]", "`").split(' ') {
        if line.len() + 1 + word.len() > 118 {
            writeln!(page, "{line}").unwrap();
            line = format!("{mark}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(page, "{line}").unwrap();
}

impl Items {
    pub(crate) fn read(files: &[PathBuf]) -> Self {
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
        Self::parse(&texts.collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    /// The docs of an entry of `kinds!`.
    pub(crate) fn kind_docs(&self, name: &str) -> String {
        self.kinds
            .get(name)
            .unwrap_or_else(|| panic!("no docs of {name}"))
            .clone()
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let (mut docs, mut attributes) = (String::new(), String::new());
        let text = with_whole_attributes(text);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let code = line.trim();
            if let Some(doc) = code.strip_prefix("///") {
                docs.push(' ');
                docs.push_str(doc.trim());
                continue;
            }
            if code.starts_with("#[") {
                attributes.push_str(code);
                continue;
            }
            let (own_docs, own_attributes) = (std::mem::take(&mut docs), std::mem::take(&mut attributes));
            let own_docs = own_docs.trim().to_owned();
            let declaration = code.strip_prefix("pub ").unwrap_or(code);
            let name = |rest: &str| rest.split([' ', '<', '(']).next().unwrap_or_default().to_owned();
            if let Some(rest) = declaration
                .strip_prefix("struct ")
                .filter(|_| code.ends_with('{'))
            {
                let fields = Self::fields(&mut lines, &own_attributes);
                found.items.insert(
                    name(rest),
                    Item::Struct {
                        docs: own_docs,
                        fields,
                    },
                );
            } else if let Some(rest) = declaration.strip_prefix("enum ").filter(|_| code.ends_with('{')) {
                let variants = Self::variants(&mut lines, &own_attributes);
                // An untagged enum is written as one of its values.
                if !own_attributes.contains("untagged") {
                    found.items.insert(name(rest), Item::Enum { variants });
                }
            } else if let Some((kind, _)) = code.split_once(", ").filter(|_| code.ends_with(';')) {
                found.kinds.insert(kind.to_owned(), own_docs);
            }
        }
        found
    }

    fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>, outer: &str) -> Vec<Field> {
        let mut fields = Vec::new();
        let (mut docs, mut attributes) = (String::new(), String::new());
        for line in lines.by_ref() {
            let code = line.trim();
            if line == "}" {
                break;
            }
            if let Some(doc) = code.strip_prefix("///") {
                docs.push(' ');
                docs.push_str(doc.trim());
            } else if code.starts_with("#[") {
                attributes.push_str(code);
            } else if let Some((name, kind)) = code.trim_end_matches(',').split_once(": ") {
                let name = name.trim_start_matches("pub(super) ").trim_start_matches("pub ");
                if !attributes.contains("serde(skip)") {
                    fields.push(Field {
                        key: attribute(&attributes, "rename").unwrap_or_else(|| name.to_owned()),
                        kind: kind.to_owned(),
                        docs: docs.trim().to_owned(),
                        optional: kind.starts_with("Option<")
                            || attributes.contains("default")
                            || outer.contains("serde(deny_unknown_fields, default)"),
                    });
                }
                (docs, attributes) = (String::new(), String::new());
            }
        }
        fields
    }

    fn variants<'a>(lines: &mut impl Iterator<Item = &'a str>, outer: &str) -> Vec<(String, String)> {
        let mut variants = Vec::new();
        let (mut docs, mut attributes) = (String::new(), String::new());
        while let Some(line) = lines.next() {
            let code = line.trim();
            if line == "}" {
                break;
            }
            if let Some(doc) = code.strip_prefix("///") {
                docs.push(' ');
                docs.push_str(doc.trim());
                continue;
            }
            if code.starts_with("#[") {
                attributes.push_str(code);
                continue;
            }
            let name = code.split(['(', ' ', ',', '{']).next().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            let key = attribute(&attributes, "rename").unwrap_or_else(|| cased(name, outer));
            let mut meaning = docs.trim().to_owned();
            let mut written = format!("\"{key}\"");
            if code.ends_with('{') {
                let tag = attribute(outer, "tag");
                written = tag.map_or(written, |tag| format!("{tag} = \"{key}\""));
                for inner in lines.by_ref() {
                    let inner = inner.trim();
                    if inner.starts_with('}') {
                        break;
                    }
                    if let Some(doc) = inner.strip_prefix("///") {
                        meaning = format!("{meaning} {}", doc.trim());
                    } else if let Some((field, _)) = inner.split_once(": ") {
                        meaning = format!("{meaning} (`{field}`)");
                    }
                }
            } else if code.contains('(') {
                written = format!("{{ {key} = … }}");
            }
            variants.push((written, meaning));
            (docs, attributes) = (String::new(), String::new());
        }
        variants
    }

    /// Writes the section of a struct with all of its keys, then those of its tables.
    pub(crate) fn sections(&self, name: &str, path: &str, defaults: &toml::Table, page: &mut String) {
        let Some(Item::Struct { docs, fields }) = self.get(name) else {
            panic!("no struct {name}");
        };
        if !path.is_empty() {
            writeln!(page, "\n## {path}\n\n{docs}").unwrap();
        }
        let plain: Vec<&Field> = fields
            .iter()
            .filter(|field| self.table(field).is_none())
            .collect();
        if !plain.is_empty() {
            page.push_str("\n| Key | Default | Meaning |\n|---|---|---|\n");
        }
        for field in plain {
            let default = match defaults.get(&field.key) {
                Some(value) => format!("`{value}`"),
                None if field.optional => String::new(),
                None => "required".to_owned(),
            };
            let meaning = format!("{}{}", field.docs, self.choices(&field.kind));
            writeln!(
                page,
                "| `{}` | {} | {} |",
                field.key,
                cell(&default),
                cell(&meaning)
            )
            .unwrap();
        }
        for field in fields {
            let Some((inner, pattern)) = self.table(field) else {
                continue;
            };
            let bare = path.trim_matches(['[', ']']);
            let full = if bare.is_empty() {
                field.key.clone()
            } else {
                format!("{bare}.{}", field.key)
            };
            let nested = defaults.get(&field.key).and_then(toml::Value::as_table);
            let named = nested.and_then(|nested| nested.values().next()?.as_table());
            let nested = if pattern.contains("NAME") { named } else { nested };
            let nested = nested.cloned().unwrap_or_default();
            self.sections(&inner, &pattern.replace("PATH", &full), &nested, page);
        }
    }

    /// Writes a struct as a TOML file with its docs as comments. `values` has the value of every key; a table that is not
    /// in `defaults` is written as a comment, with NAME replaced by the name in `values`.
    pub(crate) fn example(
        &self,
        name: &str,
        path: &str,
        defaults: Option<&toml::Table>,
        values: &toml::Table,
        page: &mut String,
    ) {
        let Some(Item::Struct { docs, fields }) = self.get(name) else {
            panic!("no struct {name}");
        };
        let mark = if defaults.is_some() { "" } else { "# " };
        if !path.is_empty() {
            page.push('\n');
            comment(docs, "", page);
            writeln!(page, "{mark}[{path}]").unwrap();
        }
        // Lists of tables are written on one line: keys must come before the tables of a section.
        let is_table = |field: &Field| {
            self.table(field)
                .is_some_and(|(_, pattern)| !pattern.starts_with("[["))
        };
        for field in fields.iter().filter(|field| !is_table(field)) {
            let meaning = format!("{}{}", field.docs, self.choices(&field.kind));
            comment(&meaning, mark, page);
            let value = values
                .get(&field.key)
                .unwrap_or_else(|| panic!("no value of {path}.{}", field.key));
            writeln!(page, "{mark}{} = {}", field.key, inline(value)).unwrap();
        }
        for field in fields {
            let Some((inner, pattern)) = self.table(field).filter(|_| is_table(field)) else {
                continue;
            };
            let Some(value) = values.get(&field.key) else {
                continue;
            };
            let mut full = if path.is_empty() {
                field.key.clone()
            } else {
                format!("{path}.{}", field.key)
            };
            let mut nested = value.as_table().unwrap();
            let default = defaults.and_then(|defaults| defaults.get(&field.key)?.as_table());
            if pattern.contains("NAME") {
                let (name, table) = nested.iter().next().unwrap();
                full = format!("{full}.{name}");
                nested = table.as_table().unwrap();
            }
            self.example(&inner, &full, default, nested, page);
        }
    }

    /// The struct behind a field that is a table, and how its header is written.
    fn table(&self, field: &Field) -> Option<(String, &'static str)> {
        let is_struct = |name: &str| matches!(self.get(name), Some(Item::Struct { .. }));
        let inner = |start: &str| {
            let inner = field.kind.strip_prefix(start)?.strip_suffix('>')?;
            Some(
                inner
                    .trim_start_matches("Spanned<")
                    .trim_end_matches('>')
                    .to_owned(),
            )
        };
        let found = [
            (Some(field.kind.clone()), "[PATH]"),
            (inner("Option<"), "[PATH]"),
            (inner("BTreeMap<String, "), "[PATH.NAME]"),
            (inner("Vec<"), "[[PATH]]"),
        ];
        found
            .into_iter()
            .find_map(|(name, pattern)| Some((name?, pattern)).filter(|(name, _)| is_struct(name)))
    }

    /// The choices of an enum, for a cell.
    fn choices(&self, kind: &str) -> String {
        let name = kind.trim_start_matches("Option<").trim_end_matches('>');
        let Some(Item::Enum { variants, .. }) = self.get(name) else {
            return String::new();
        };
        let choices: Vec<String> = variants
            .iter()
            .map(|(written, docs)| format!("`{written}`: {}", docs.trim_end_matches('.')))
            .collect();
        format!(" {}.", choices.join("; "))
    }
}
