//! One password as the file has it: in clear, or as a bcrypt or argon2 hash.

use argon2::{Argon2, Params, PasswordHash, PasswordVerifier};
use bcrypt::HashParts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const BCRYPT_PREFIXES: [&str; 3] = ["$2a$", "$2b$", "$2y$"];

/// The dearest bcrypt hash: each step doubles the time, and this one takes seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// How much memory an argon2 hash may need, in KiB.
const ARGON2_KIB_MAX: u32 = 256 << 10;

/// How much memory an argon2 hash may go through in all its passes, in KiB.
const ARGON2_WORK_MAX: u64 = 4 << 20;

/// What a password is compared with.
pub(crate) enum Secret {
    /// The password itself.
    Clear(String),
    /// Its bcrypt hash.
    Bcrypt(String),
    /// Its argon2 hash, in the PHC format.
    Argon2(String),
}

impl Secret {
    /// What looks like a hash must be one: a mangled hash is not to become a password. The error says what is wrong.
    pub(crate) fn parse(text: String) -> Result<Self, String> {
        if BCRYPT_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            check_bcrypt(&text)?;
            Ok(Secret::Bcrypt(text))
        } else if text.starts_with("$argon2") {
            check_argon2(&text)?;
            Ok(Secret::Argon2(text))
        } else {
            Ok(Secret::Clear(text))
        }
    }

    /// Whether this is the password. A hash takes up to seconds of processor time.
    pub(crate) fn matches(&self, password: &str) -> bool {
        match self {
            Secret::Clear(expected) => equal(expected, password),
            Secret::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Secret::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }

    /// The password, if it is known.
    pub(crate) fn clear_text(&self) -> Option<&str> {
        match self {
            Secret::Clear(password) => Some(password),
            Secret::Bcrypt(_) | Secret::Argon2(_) => None,
        }
    }

    /// The hash, if there is one.
    pub(crate) fn hash(&self) -> Option<&str> {
        match self {
            Secret::Clear(_) => None,
            Secret::Bcrypt(hash) | Secret::Argon2(hash) => Some(hash),
        }
    }
}

/// In constant time, whatever the lengths.
fn equal(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()).as_slice().ct_eq(Sha256::digest(b.as_bytes()).as_slice()).into()
}

fn check_bcrypt(text: &str) -> Result<(), String> {
    let hash: HashParts = text.parse().map_err(|error| format!("this is no bcrypt hash: {error}"))?;
    match hash.get_cost() {
        4..=BCRYPT_COST_MAX => Ok(()),
        cost => Err(format!("the bcrypt hash has a cost of {cost}; it must be from 4 to {BCRYPT_COST_MAX}")),
    }
}

fn check_argon2(text: &str) -> Result<(), String> {
    let wrong = |error| format!("this is no argon2 hash: {error}");
    let hash = PasswordHash::new(text).map_err(|error| wrong(error.to_string()))?;
    if !["argon2id", "argon2i", "argon2d"].contains(&hash.algorithm.as_str()) {
        return Err(wrong("the algorithm is unknown".to_owned()));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(wrong("its salt or its hash is missing".to_owned()));
    }
    let params = Params::try_from(&hash).map_err(|error| wrong(error.to_string()))?;
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > ARGON2_KIB_MAX || work > ARGON2_WORK_MAX {
        return Err(format!(
            "the argon2 hash is too expensive: m may be {ARGON2_KIB_MAX} at most, and m times t {ARGON2_WORK_MAX}"
        ));
    }
    Ok(())
}
