//! A client in a web page: the program is compiled to WebAssembly, and sends its requests with `fetch()`.
//!
//! ```console
//! $ cargo build -p sqlhttp-rqlite --features fetch --example fetch --target wasm32-unknown-unknown
//! $ wasm-bindgen --target web --out-dir pkg target/wasm32-unknown-unknown/debug/examples/fetch.wasm
//! ```
//!
//! ```html
//! <script type="module">
//!   import init, { names } from "./pkg/fetch.js";
//!   await init();
//!   console.log(await names("http://localhost:4001"));
//! </script>
//! ```
//!
//! The node must allow the origin of the page: `sqlhttp-cluster -http-allow-origin http://localhost:8000 data`.

use sqlhttp_core::{Error, Executor};
use sqlhttp_rqlite::client::{Client, FetchTransport, Host};
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// Adds a user, and returns the names of all users.
///
/// # Errors
/// The host is not the address of a server, or a statement has failed. Becomes an exception.
#[wasm_bindgen]
pub async fn names(host: String) -> Result<Vec<String>, JsError> {
    let db = Client::new(FetchTransport::new(), host.parse::<Host>()?, []);
    Ok(add_and_list(&db).await?)
}

async fn add_and_list(db: &impl Executor) -> Result<Vec<String>, Error> {
    db.execute("CREATE TABLE IF NOT EXISTS users(id INTEGER PRIMARY KEY, name TEXT)", ()).await?;
    db.execute("INSERT INTO users(name) VALUES (?)", ["Ada"]).await?;
    db.query_all::<(String,)>("SELECT name FROM users", ())
        .await
        .map(|rows| rows.into_iter().map(|row| row.0).collect())
}
