//! One password of the auth file: in clear, or as a bcrypt or argon2 hash.

use argon2::{Argon2, Params, PasswordHash, PasswordVerifier};
use bcrypt::HashParts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const BCRYPT_PREFIXES: [&str; 3] = ["$2a$", "$2b$", "$2y$"];

/// The maximum cost of a bcrypt hash. Each step doubles the time of a check, and a check at this cost takes seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// The maximum memory cost of an argon2 hash, in KiB.
const ARGON2_KIB_MAX: u32 = 256 << 10;

/// The maximum product of an argon2 hash's memory cost in KiB and its number of passes.
const ARGON2_WORK_MAX: u64 = 4 << 20;

/// The expected password of a user, in clear or as a hash.
pub(crate) enum Secret {
    /// The password in clear.
    Clear(String),
    /// A bcrypt hash.
    Bcrypt(String),
    /// An argon2 hash, in the PHC format.
    Argon2(String),
}

impl Secret {
    /// Parses a password of the auth file. A string with the prefix of a hash must be a valid hash; otherwise a
    /// damaged hash would be used as a password in clear. Returns the reason if the password is rejected.
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

    /// Returns whether `password` is the expected password. Checking a hash may take seconds of processor time.
    pub(crate) fn matches(&self, password: &str) -> bool {
        match self {
            Secret::Clear(expected) => equal(expected, password),
            Secret::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Secret::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }

    /// Returns the expected password; `None` if it is stored as a hash.
    pub(crate) fn clear_text(&self) -> Option<&str> {
        match self {
            Secret::Clear(password) => Some(password),
            Secret::Bcrypt(_) | Secret::Argon2(_) => None,
        }
    }

    /// Returns the hash of the expected password; `None` if it is stored in clear.
    pub(crate) fn hash(&self) -> Option<&str> {
        match self {
            Secret::Clear(_) => None,
            Secret::Bcrypt(hash) | Secret::Argon2(hash) => Some(hash),
        }
    }
}

/// Compares two strings in a time that does not depend on their common prefix, even if their lengths differ.
fn equal(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()).as_slice().ct_eq(Sha256::digest(b.as_bytes()).as_slice()).into()
}

fn check_bcrypt(text: &str) -> Result<(), String> {
    let hash: HashParts = text.parse().map_err(|error| format!("this is not a valid bcrypt hash: {error}"))?;
    match hash.get_cost() {
        4..=BCRYPT_COST_MAX => Ok(()),
        cost => Err(format!("the bcrypt hash has a cost of {cost}; it must be from 4 to {BCRYPT_COST_MAX}")),
    }
}

fn check_argon2(text: &str) -> Result<(), String> {
    let wrong = |error| format!("this is not a valid argon2 hash: {error}");
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
