//! Tests of the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod simulated;
mod suite;
mod support;
