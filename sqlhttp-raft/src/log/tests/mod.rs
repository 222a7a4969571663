//! Tests of the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod behaviour;
mod crash;
mod damage;
mod durable;
mod scripts;
mod suite;
mod support;
