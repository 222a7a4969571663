//! The documents and the sources keep the project's rules: names on the page ARCHITECTURE.md exist, lines have at most
//! 120 characters, and a module with children is a file `mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// The short names of the crates in ARCHITECTURE.md, and their source directories.
const CRATES: [(&str, &str); 6] = [
    ("core", "sqlhttp-core/src"),
    ("raft", "sqlhttp-raft/src"),
    ("server", "sqlhttp-server/src"),
    ("ws4sqlite", "sqlhttp-protocol/ws4sqlite/src"),
    ("rqlite", "sqlhttp-protocol/rqlite/src"),
    ("text", "sqlhttp-protocol/text/src"),
];

/// The greatest length of a line, in characters.
const LINE_MAX: usize = 120;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The names in backticks that contain `::`.
fn names(document: &str) -> Vec<&str> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| text.contains("::") && !text.contains(char::is_whitespace))
        .collect()
}

/// Follows a name through the modules of its crate to the file that must define the rest of it.
fn find(name: &str) -> Result<(), String> {
    let mut segments = name.split("::").peekable();
    let krate = segments.next().unwrap_or_default();
    let (_, directory) = CRATES.iter().find(|(short, _)| *short == krate).ok_or("no such crate")?;
    let mut directory = workspace().join(directory);
    let mut file = directory.join("lib.rs");
    while let Some(segment) = segments.peek() {
        let (leaf, parent) = (directory.join(format!("{segment}.rs")), directory.join(segment).join("mod.rs"));
        directory.push(segment);
        file = match (leaf.exists(), parent.exists()) {
            (true, _) => leaf,
            (_, true) => parent,
            _ => break,
        };
        segments.next();
    }
    let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    match segments.find(|segment| !defines(&text, segment)) {
        None => Ok(()),
        Some(segment) => Err(format!("{} does not define `{segment}`", file.display())),
    }
}

/// Returns whether a file defines an item, a method or a variant, or implements a type, of this name.
fn defines(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let words: Vec<&str> =
            line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|it| !it.is_empty()).collect();
        let defined = words.windows(2).any(|pair| {
            pair[1] == name && ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"].contains(&pair[0])
        });
        let implemented = line.starts_with("impl") && words.contains(&name);
        let variant = words.first() == Some(&name) && line[name.len()..].starts_with([',', '(', ' ']);
        defined || implemented || variant
    })
}

/// All files of the workspace with this extension, outside `target`.
fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            files(&entry, extension, found);
        } else if entry.extension().is_some_and(|it| it == extension) {
            found.push(entry);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&workspace(), "rs", &mut found);
    assert!(found.len() > 300, "the sources were not found");
    found
}

#[test]
fn every_name_in_architecture_exists() {
    let document = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let names = names(&document);
    assert!(names.len() > 60, "the names were not found");
    let missing: Vec<String> =
        names.iter().filter_map(|name| find(name).err().map(|why| format!("{name}: {why}"))).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    for name in ["core::engine::no_such_module", "core::model::batch::NoSuchType", "raft::node::Node::no_such_method"] {
        assert!(find(name).is_err(), "{name}");
    }
    find("core::model::error::Error::Overloaded").unwrap();
}

#[test]
fn lines_of_sources_have_at_most_120_characters() {
    let mut long = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| line.chars().count() > LINE_MAX);
        // A literal cannot always be wrapped; a comment can.
        let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//") && line.contains(' '));
        long.extend(comments.map(|(number, _)| format!("{}:{}", file.display(), number + 1)));
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn a_module_with_children_is_a_file_mod_rs() {
    let is_beside = |file: &PathBuf| {
        let directory = file.with_extension("");
        let in_sources = file.components().any(|part| part.as_os_str() == "src");
        let has_children = || {
            let mut children = Vec::new();
            files(&directory, "rs", &mut children);
            !children.is_empty()
        };
        in_sources && directory.is_dir() && has_children()
    };
    let beside: Vec<PathBuf> = sources().into_iter().filter(is_beside).collect();
    assert!(beside.is_empty(), "{beside:#?}");
}
