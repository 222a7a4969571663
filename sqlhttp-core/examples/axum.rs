//! An HTTP service with axum on an embedded database: users with values of all types, a list that is streamed as JSON,
//! and transfers between accounts, each in a transaction.
//!
//! `cargo run -p sqlhttp-core --features derive --example axum` starts the service on a free port, sends it some
//! requests and ends. `… -- serve 127.0.0.1:3000` serves until the process is stopped, with the file `users.db`.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{BoxError, Json, Router};
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlhttp_core::{Database, Error, Executor as _, FromRow, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE CHECK(name <> ''),
        age INTEGER NOT NULL, score REAL NOT NULL, avatar BLOB NOT NULL) STRICT;
    CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK(balance >= 0)) STRICT;
    INSERT INTO accounts VALUES (1, 100), (2, 0)"];

/// The number of rows that share a chunk of a streamed response.
const ROWS_PER_CHUNK: usize = 100;

#[derive(FromRow, Serialize, Deserialize)]
struct User {
    #[serde(skip_deserializing)]
    id: i64,
    name: String,
    age: i64,
    score: f64,
    avatar: Vec<u8>,
}

#[derive(Deserialize)]
struct Transfer {
    from: i64,
    to: i64,
    amount: u32,
}

/// Why a request has failed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("there is no user {0}")]
    NoUser(i64),
    #[error("there is no account {0}")]
    NoAccount(i64),
    #[error("the balance is only {0}")]
    Short(i64),
    #[error(transparent)]
    Database(#[from] Error),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, text) = match &self {
            Problem::NoUser(_) | Problem::NoAccount(_) => (StatusCode::NOT_FOUND, self.to_string()),
            Problem::Short(_) => (StatusCode::CONFLICT, self.to_string()),
            // SQLite's messages contain the names of tables and columns, so they are logged and not sent.
            Problem::Database(error) => {
                eprintln!("{error}");
                match error {
                    error if error.is_unique() => (StatusCode::CONFLICT, "the name is in use".to_owned()),
                    error if error.is_constraint() => {
                        (StatusCode::UNPROCESSABLE_ENTITY, "a value is not allowed".to_owned())
                    }
                    error if error.retry() => (StatusCode::SERVICE_UNAVAILABLE, "try again later".to_owned()),
                    _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned()),
                }
            }
        };
        (status, text).into_response()
    }
}

/// Inserts a user.
async fn add_user(State(db): State<Database>, Json(user): Json<User>) -> Result<impl IntoResponse, Problem> {
    let sql = "INSERT INTO users(name, age, score, avatar) VALUES (?, ?, ?, ?)";
    let added = db.execute(sql, (user.name, user.age, user.score, user.avatar)).await?;
    Ok((StatusCode::CREATED, Json(json!({"id": added.last_insert_id}))))
}

/// Returns a user.
async fn get_user(State(db): State<Database>, Path(id): Path<i64>) -> Result<Json<User>, Problem> {
    let user = db.query_opt("SELECT * FROM users WHERE id = ?", [id]).await?;
    user.map(Json).ok_or(Problem::NoUser(id))
}

/// Returns all users as a JSON array, in memory that does not depend on their number. The statement waits for a slow
/// client, but not longer than `Options::stall_timeout`. If the client disconnects, the stream is dropped, which ends
/// the statement. An error before the first rows has a status of its own. A later one ends the connection, so that the
/// client does not mistake a part of the array for the whole.
async fn list_users(State(db): State<Database>) -> Result<impl IntoResponse, Problem> {
    let rows = db.query_stream::<User>("SELECT * FROM users ORDER BY id", ()).await?;
    let mut separator = "";
    let chunks = rows.try_ready_chunks(ROWS_PER_CHUNK).map_ok(move |users| {
        let users: Vec<String> = users.iter().map(|user| json!(user).to_string()).collect();
        std::mem::replace(&mut separator, ",").to_owned() + &users.join(",")
    });
    let (head, tail) = (iter([Ok("[".to_owned())]), iter([Ok("]".to_owned())]));
    let body = Body::from_stream(head.chain(chunks).chain(tail));
    Ok(([(CONTENT_TYPE, "application/json")], body))
}

/// Moves money from one account to another. The closure runs on the writer thread, in a transaction: if it returns an
/// error, nothing has changed.
async fn transfer(State(db): State<Database>, Json(transfer): Json<Transfer>) -> Result<Json<Value>, Problem> {
    let Transfer { from, to, amount } = transfer;
    let amount = i64::from(amount);
    let transferred = db.transaction(move |tx| {
        let balance: Option<i64> = tx.query_opt("SELECT balance FROM accounts WHERE id = ?", [from])?;
        let balance = balance.ok_or(Problem::NoAccount(from))?;
        if balance < amount {
            return Err(Problem::Short(balance));
        }
        tx.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", [amount, from])?;
        if tx.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", [amount, to])?.rows != 1 {
            return Err(Problem::NoAccount(to));
        }
        let left: i64 = tx.query_one("SELECT balance FROM accounts WHERE id = ?", [from])?;
        Ok(left)
    });
    let left = transferred.await?;
    Ok(Json(json!({"balance": left})))
}

/// Brings the schema to its newest version, and returns the service.
async fn service(db: Database) -> Result<Router, Error> {
    db.migrate(&MIGRATIONS).await?;
    Ok(Router::new()
        .route("/users", post(add_user).get(list_users))
        .route("/users/{id}", get(get_user))
        .route("/transfers", post(transfer))
        .with_state(db))
}

/// Sends a request over HTTP/1.1 on a connection of its own. Returns the status and the body of the response. This
/// client knows only what the responses of this service contain.
async fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String), BoxError> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or("the response has no end of its head")?;
    let status = head.split(' ').nth(1).ok_or("the response has no status")?.parse()?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        let body = joined(body).ok_or("the last chunk is missing")?;
        return Ok((status, body));
    }
    Ok((status, body.to_owned()))
}

/// Joins the chunks of a body (<https://www.rfc-editor.org/rfc/rfc9112#section-7.1>). `None` if one is missing.
fn joined(mut chunked: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunked.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..size)?);
        chunked = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// Starts the service on a free port, with a database in memory, and sends it some requests.
async fn try_out() -> Result<(), BoxError> {
    let service = service(Database::open_in_memory(Options::default())?).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        axum::serve(listener, service).with_graceful_shutdown(stopped).await
    });

    let user = |name: &str| json!({"name": name, "age": 36, "score": 0.5, "avatar": [0, 255]}).to_string();
    let transfer = |amount: u32| json!({"from": 1, "to": 2, "amount": amount}).to_string();
    let requests = [
        ("POST", "/users", user("Ada"), 201),
        ("POST", "/users", user("Grace"), 201),
        ("POST", "/users", user("Ada"), 409),
        ("POST", "/users", user(""), 422),
        ("GET", "/users/1", String::new(), 200),
        ("GET", "/users/3", String::new(), 404),
        ("GET", "/users", String::new(), 200),
        ("POST", "/transfers", transfer(30), 200),
        ("POST", "/transfers", transfer(80), 409),
        ("POST", "/transfers", transfer(70), 200),
    ];
    for (method, path, body, expected) in requests {
        let (status, reply) = send(address, method, path, &body).await?;
        println!("{method} {path} {body}\n  {status} {reply}");
        assert_eq!(status, expected, "{method} {path} {body}");
    }

    let (_, users) = send(address, "GET", "/users", "").await?;
    let users: Vec<User> = serde_json::from_str(&users)?;
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["Ada", "Grace"]);
    assert_eq!(users[1].avatar, [0, 255]);

    // An error means that the service has ended already; its result says why.
    let _ = stop.send(());
    Ok(running.await??)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => try_out().await,
        ["serve", address] => {
            let service = service(Database::open("users.db", Options::default())?).await?;
            let listener = TcpListener::bind(address).await?;
            println!("listening on {}", listener.local_addr()?);
            Ok(axum::serve(listener, service).await?)
        }
        _ => Err("usage: axum [serve ADDRESS]".into()),
    }
}
