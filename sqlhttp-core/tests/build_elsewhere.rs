//! A build of the crate outside of this workspace, without its compile-time flags.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

const MANIFEST: &str = r#"
[package]
name = "elsewhere"
version = "0.0.0"
edition = "2024"

[dependencies]
sqlhttp-core = { path = "PATH" }

[workspace]
"#;

const MAIN: &str = r#"
use sqlhttp_core::{Batch, Database, Options, Step, StepOutcome};

fn main() {
    let db = Database::open(":memory:", Options::default()).unwrap();
    for sql in ["SELECT sqrt(144)", "SELECT log(2, 8)", "SELECT count(*) FROM sqlite_stmt"] {
        let outcome = db.blocking().run(Batch::one(Step::query(sql, ()))).unwrap();
        match &outcome.steps[0] {
            StepOutcome::Rows(rows) => println!("{sql}: {:?}", rows.iter().next().unwrap().get(0).unwrap().to_value()),
            other => println!("{sql}: {other:?}"),
        }
    }
    for feature in sqlhttp_core::missing_features() {
        println!("missing: {} ({}), {}", feature.name, feature.provides, feature.flag);
    }
}
"#;

/// Compiles SQLite again, which takes a minute: `cargo test -p sqlhttp-core --test build_elsewhere -- --ignored`.
#[test]
#[ignore = "compiles SQLite again"]
fn a_build_without_the_flags_has_math_functions_and_lists_its_missing_features() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("write a file");
    write("Cargo.toml", &MANIFEST.replace("PATH", &package.display().to_string()));
    std::fs::create_dir(directory.path().join("src")).expect("a directory");
    write("src/main.rs", MAIN);
    // Uses the tested versions, which usually have been downloaded already.
    std::fs::copy(package.join("../Cargo.lock"), directory.path().join("Cargo.lock")).expect("copy the lock file");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--target-dir"])
        .arg(package.join("../target/elsewhere"))
        .current_dir(directory.path())
        .env_remove("LIBSQLITE3_FLAGS")
        .output()
        .expect("run cargo");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(out.contains("SELECT sqrt(144): Real(12.0)"), "{out}");
    assert!(out.contains("SELECT log(2, 8): Real(3.0)"), "{out}");
    assert!(out.contains("no such table: sqlite_stmt"), "{out}");
    let missing: Vec<&str> = out.lines().filter(|line| line.starts_with("missing: ")).collect();
    assert_eq!(
        missing,
        [
            "missing: geopoly (virtual tables of the module geopoly, geopoly_*()), SQLITE_ENABLE_GEOPOLY",
            "missing: attach_125 (more than 10 attached files at a time), SQLITE_MAX_ATTACHED=125",
        ]
    );
}

#[test]
fn a_build_with_the_flags_has_no_missing_features() {
    assert_eq!(sqlhttp_core::missing_features(), []);
}
