//! The shell as a program, with a node that runs in this process.

#![allow(clippy::unwrap_used, clippy::panic)]

mod basics;
mod golden;
mod rqlite;
mod support;
mod terminal;
mod transfer;
