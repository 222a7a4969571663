//! The derive macro `FromRow`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sqlhttp_core::{Database, FromRow, Options};

#[derive(Debug, PartialEq, FromRow)]
struct User {
    id: u64,
    #[sqlhttp(rename = "full name")]
    name: String,
    email: Option<String>,
    r#type: String,
    #[sqlhttp(default)]
    age: Option<u8>,
    #[sqlhttp(skip)]
    cached: bool,
}

#[derive(Debug, PartialEq, FromRow)]
struct Pair(i64, String);

#[derive(Debug, PartialEq, FromRow)]
struct Wrapper<T: for<'v> sqlhttp_core::FromValue<'v>> {
    value: T,
}

#[test]
fn structs_are_read_by_name_and_by_index() {
    let db = Database::open(":memory:", Options::default()).unwrap();
    let sql = r#"SELECT NULL AS email, 'Ada Lovelace' AS "full name", 7 AS ID, 'x' AS type, 1 AS cached"#;
    let user: User = db.blocking().query_one(sql, ()).unwrap();
    let name = "Ada Lovelace".to_owned();
    assert_eq!(user, User { id: 7, name, email: None, r#type: "x".to_owned(), age: None, cached: false });
    let with_age: User = db.blocking().query_one(sql.replace("1 AS cached", "36 AS age"), ()).unwrap();
    assert_eq!(with_age.age, Some(36));
    let pair: Pair = db.blocking().query_one("SELECT 7, 'x'", ()).unwrap();
    assert_eq!(pair, Pair(7, "x".to_owned()));
    let wrapped: Wrapper<f64> = db.blocking().query_one("SELECT 0.5 AS value", ()).unwrap();
    assert_eq!(wrapped.value, 0.5);
}

#[test]
fn errors_name_the_column() {
    let db = Database::open(":memory:", Options::default()).unwrap();
    let error = db.blocking().query_one::<User>("SELECT 7 AS id", ()).unwrap_err();
    assert_eq!(error.to_string(), "the result has no column full name");
    let sql = r#"SELECT 7 AS id, 'Ada' AS "full name", NULL AS email, 'x' AS type, 300 AS age"#;
    let error = db.blocking().query_one::<User>(sql, ()).unwrap_err();
    assert_eq!(error.to_string(), "column age: 300 is outside of the range of u8");
}
