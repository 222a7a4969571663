#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | [`duration`] | parses and formats durations such as `1m30s` |
//! | [`flag`] | parses command-line flags |
//! | [`form`] | decodes and encodes the names and values of query strings and forms |
//! | [`literal`] | parses integers, booleans and sizes |
//! | [`spelling`] | finds the known word that is most like a misspelt one |
//! | [`number`] | writes integers and doubles as JSON |
//! | [`json`] | writes strings as JSON, and bytes in base64 |
//! | [`script`] | splits the beginning of SQL text into white space, comments and words |
//! | [`time`] | parses dates and times, converts Unix times, and writes both in RFC 3339 |
//! | [`results`] | splits a reply in JSON into its results and rows, while it arrives |
//! | [`sqlite`] | finds the result codes of SQLite's error messages |
//! | [`http`] | what the clients of both protocols share: the interface to a library that sends HTTP requests |

pub mod duration;
pub mod flag;
pub mod form;
pub mod http;
pub mod json;
pub mod literal;
pub mod number;
pub mod results;
pub mod script;
pub mod spelling;
pub mod sqlite;
pub mod time;
