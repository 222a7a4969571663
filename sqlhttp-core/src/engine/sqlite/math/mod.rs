//! SQLite's math functions (<https://sqlite.org/lang_mathfunc.html>), computed in Rust.
//!
//! SQLite provides these functions only if it was compiled with `SQLITE_ENABLE_MATH_FUNCTIONS`, and computes them with
//! the C library of the system. The last digit of that library's results may depend on the processor and the version,
//! and replicas of a database must not differ. The crate `libm` is compiled from the same Rust source everywhere and
//! only uses IEEE 754 arithmetic, so its results have the same bits on every machine. The same holds for the function
//! [`bm25`] of FTS5.

mod bm25;

use std::f64::consts::PI;
use std::ffi::CStr;

use rusqlite::Connection;

use super::scalar::{Argument, CallError, Caller, FunctionResult, StorageClass, register};

/// The name and the implementation of an SQL function of one number.
type Unary = (&'static CStr, fn(f64) -> f64);
/// The name and the implementation of an SQL function of two numbers.
type Binary = (&'static CStr, fn(f64, f64) -> f64);

/// The functions that round a REAL argument. They return an INTEGER argument unchanged.
const ROUNDING: [Unary; 4] =
    [(c"ceil", libm::ceil), (c"ceiling", libm::ceil), (c"floor", libm::floor), (c"trunc", libm::trunc)];

/// The functions of one number. For arguments outside their domain they return NaN, which SQLite converts to NULL.
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

/// The functions of two numbers.
const BINARY: [Binary; 4] = [(c"pow", libm::pow), (c"power", libm::pow), (c"mod", libm::fmod), (c"atan2", libm::atan2)];

/// The logarithms of one number. They return NULL for an argument that is not positive.
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
    register(connection, c"pi", |[], _: &Caller| Ok(FunctionResult::Real(PI)))?;
    bm25::register(connection)
}

/// Computes `acosh`; NaN for arguments below 1, where the function is undefined. (`libm` returns numbers for some of
/// them.)
fn acosh(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

fn real<'a>(value: Option<f64>) -> FunctionResult<'a> {
    value.map_or(FunctionResult::Null, FunctionResult::Real)
}

/// The numeric value of an argument that is a number, or a TEXT value that looks like a number; `None` for any other
/// argument.
fn number(argument: Argument<'_>) -> Option<f64> {
    matches!(argument.numeric_storage_class(), StorageClass::Integer | StorageClass::Real).then(|| argument.real())
}

fn positive(argument: Argument<'_>) -> Option<f64> {
    number(argument).filter(|x| *x > 0.0)
}

fn round<'a>(x: Argument<'a>, function: fn(f64) -> f64) -> Result<FunctionResult<'a>, CallError> {
    Ok(match x.numeric_storage_class() {
        StorageClass::Integer => FunctionResult::Integer(x.integer()),
        StorageClass::Real => FunctionResult::Real(function(x.real())),
        _ => FunctionResult::Null,
    })
}

fn binary<'a>(x: Argument<'a>, y: Argument<'a>, function: fn(f64, f64) -> f64) -> FunctionResult<'a> {
    // An SQLite value is never NaN, so it suffices to check both storage classes before the call.
    real(number(x).zip(number(y)).map(|(x, y)| function(x, y)))
}

/// Computes the logarithm of `x` to a base. Like SQLite, this function checks the storage class of the base only: `x`
/// may be any TEXT value that begins with a number.
fn log<'a>(base: Argument<'a>, x: Argument<'a>) -> FunctionResult<'a> {
    let base = positive(base).map(libm::log).filter(|base| *base > 0.0);
    let x = Some(x.real()).filter(|x| *x > 0.0);
    real(base.zip(x).map(|(base, x)| libm::log(x) / base))
}

#[cfg(test)]
mod tests;
