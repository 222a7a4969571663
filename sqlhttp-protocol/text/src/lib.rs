//! What servers in Go write and read as text, as pure functions: numbers and strings as `encoding/json` writes them,
//! dates and times as their SQLite drivers read them, and how dumps begin. It is what the protocol crates have in common.
//!
//! It knows no protocol: what one of them does otherwise is an argument here ([`json::Escapes`],
//! [`time::ParseOptions`]) or stands in its own crate. It opens no file, no socket and no thread, and reads no clock.
//!
//! ```
//! use sqlhttp_text::json::Escapes;
//! use sqlhttp_text::number;
//! use sqlhttp_text::time::{ParseOptions, Time};
//!
//! let mut out = b"[".to_vec();
//! number::write_real(&mut out, 1e21);
//! out.push(b',');
//! Escapes::GO_1_22.write_string(&mut out, "tab\t");
//! out.push(b',');
//! let options = ParseOptions { repeated_blanks: true, offset_hours_max: 24, offset_minutes_max: 60 };
//! let time = Time::parse(b"2004-02-14 07:15:00.50+02:00", &options).unwrap();
//! time.write_json(&mut out);
//! out.push(b']');
//! assert_eq!(out, br#"[1e+21,"tab\t","2004-02-14T07:15:00.5+02:00"]"#);
//! ```
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | [`duration`] | parses and formats durations such as `1m30s` |
//! | [`flag`] | parses command-line flags |
//! | [`literal`] | parses integers, booleans and sizes |
//! | [`spelling`] | finds the known word that is most like a misspelt one |
//! | [`number`] | integers and doubles into JSON |
//! | [`json`] | strings into JSON, bytes in base64 too |
//! | [`script`] | the beginning of SQL text: blanks, comments, words |
//! | [`time`] | texts and Unix times into times, and these into RFC 3339 |

pub mod duration;
pub mod flag;
pub mod json;
pub mod literal;
pub mod number;
pub mod script;
pub mod spelling;
pub mod time;
