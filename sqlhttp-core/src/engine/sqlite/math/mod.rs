//! SQLite's math functions (<https://sqlite.org/lang_mathfunc.html>), computed in Rust.
//!
//! SQLite has them only if it was compiled with SQLITE_ENABLE_MATH_FUNCTIONS, and takes the values from the system's C
//! library. That library gives other last digits on another processor or in another version, and replicas of a
//! database must not differ. The crate `libm` is compiled from the same Rust source everywhere and uses nothing but
//! IEEE arithmetic, so its results are the same bits on every machine.

use std::f64::consts::PI;
use std::ffi::CStr;

use rusqlite::Connection;

use super::scalar::{Answer, Argument, CallError, Caller, Kind, register};

/// A name and the function of one number behind it.
type Unary = (&'static CStr, fn(f64) -> f64);
/// A name and the function of two numbers behind it.
type Binary = (&'static CStr, fn(f64, f64) -> f64);

/// Functions that keep an integer as it is.
const ROUNDING: [Unary; 4] =
    [(c"ceil", libm::ceil), (c"ceiling", libm::ceil), (c"floor", libm::floor), (c"trunc", libm::trunc)];

/// Functions of one number. Outside of their domain they give NaN, which SQLite makes NULL.
const UNARY: [Unary; 16] = [
    (c"exp", libm::exp),
    (c"acos", libm::acos),
    (c"asin", libm::asin),
    (c"atan", libm::atan),
    (c"cos", libm::cos),
    (c"sin", libm::sin),
    (c"tan", libm::tan),
    (c"cosh", libm::cosh),
    (c"sinh", libm::sinh),
    (c"tanh", libm::tanh),
    (c"acosh", acosh),
    (c"asinh", libm::asinh),
    (c"atanh", libm::atanh),
    (c"sqrt", libm::sqrt),
    (c"radians", |degrees| degrees * (PI / 180.0)),
    (c"degrees", |radians| radians * (180.0 / PI)),
];

/// Functions of two numbers.
const BINARY: [Binary; 4] = [(c"pow", libm::pow), (c"power", libm::pow), (c"mod", libm::fmod), (c"atan2", libm::atan2)];

/// Logarithms of one number.
const LOGARITHMS: [Unary; 4] =
    [(c"ln", libm::log), (c"log", libm::log10), (c"log10", libm::log10), (c"log2", libm::log2)];

/// Registers the math functions on a connection.
pub(super) fn register_all(connection: &Connection) -> rusqlite::Result<()> {
    for (name, function) in ROUNDING {
        register(connection, name, move |[x], _: &Caller| round(x, function))?;
    }
    for (name, function) in UNARY {
        register(connection, name, move |[x], _: &Caller| Ok(real(number(x).map(function))))?;
    }
    for (name, function) in BINARY {
        register(connection, name, move |[x, y], _: &Caller| Ok(binary(x, y, function)))?;
    }
    for (name, function) in LOGARITHMS {
        register(connection, name, move |[x], _: &Caller| Ok(real(positive(x).map(function))))?;
    }
    register(connection, c"log", |[base, x], _: &Caller| Ok(log(base, x)))?;
    register(connection, c"pi", |[], _: &Caller| Ok(Answer::Real(PI)))
}

/// `libm` gives numbers for some arguments below 1, which have no result.
fn acosh(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

fn real<'a>(value: Option<f64>) -> Answer<'a> {
    value.map_or(Answer::Null, Answer::Real)
}

/// The number that an argument is, or that its text looks like.
fn number(argument: Argument<'_>) -> Option<f64> {
    matches!(argument.numeric_kind(), Kind::Integer | Kind::Real).then(|| argument.real())
}

fn positive(argument: Argument<'_>) -> Option<f64> {
    number(argument).filter(|x| *x > 0.0)
}

fn round<'a>(x: Argument<'a>, function: fn(f64) -> f64) -> Result<Answer<'a>, CallError> {
    Ok(match x.numeric_kind() {
        Kind::Integer => Answer::Integer(x.integer()),
        Kind::Real => Answer::Real(function(x.real())),
        _ => Answer::Null,
    })
}

fn binary<'a>(x: Argument<'a>, y: Argument<'a>, function: fn(f64, f64) -> f64) -> Answer<'a> {
    // NaN cannot come from a number of SQLite's, so both are looked at before either is used.
    real(number(x).zip(number(y)).map(|(x, y)| function(x, y)))
}

/// The logarithm to a base. SQLite asks for the type of the base only: the second argument may be anything that begins
/// with a number.
fn log<'a>(base: Argument<'a>, x: Argument<'a>) -> Answer<'a> {
    let base = positive(base).map(libm::log).filter(|base| *base > 0.0);
    let x = Some(x.real()).filter(|x| *x > 0.0);
    real(base.zip(x).map(|(base, x)| libm::log(x) / base))
}

#[cfg(test)]
mod tests;
