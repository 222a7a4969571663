//! Who may use a database.
//!
//! Passwords are known as their SHA-256 only and compared in constant time; a user that does not exist costs the same
//! work as one with a wrong password. Failures are answered after a delay (see [`Penalty`](crate::api::penalty::Penalty)).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use sqlhttp_core::{
    Answer, Backend, Batch, Bindings, Deadline, Error, Failure, Outcome, Part, ReadLevel, Step, StepOutcome,
};
use sqlhttp_ws4sqlite::Credentials;
use subtle::ConstantTimeEq;

use crate::standalone::config::Users;

/// Base64 as HTTP clients write it: the standard alphabet, padding optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether somebody is who he says he is.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// He is.
    Granted,
    /// He is not.
    Denied,
    /// The database could not be asked.
    Unknown(Error),
}

/// Checks credentials.
pub(crate) async fn check(
    users: &Users,
    credentials: &Credentials,
    backend: &dyn Backend,
    deadline: Deadline,
) -> Verdict {
    match users {
        Users::ByCredentials(known) => {
            let expected = known.get(&credentials.user);
            // The comparison is made for unknown users too, and its result ignored.
            let equal = digests_equal(&sha256(&credentials.password), expected.unwrap_or(&[0; 32]));
            if expected.is_some() & equal { Verdict::Granted } else { Verdict::Denied }
        }
        Users::ByQuery(sql) => {
            let named = [("user", credentials.user.as_str()), ("password", credentials.password.as_str())];
            let batch = Batch::one(Step::query(sql.clone(), Bindings::named(named)));
            // A read sees committed data only: a user that a running transaction has inserted is not there yet.
            let answer = backend.query(batch, ReadLevel::Weak, deadline).await;
            verdict_of_query(answer).await
        }
    }
}

/// At least one row is a yes, whatever it holds.
async fn verdict_of_query(answer: Result<Answer, Error>) -> Verdict {
    let found = match answer {
        Ok(Answer::Whole(outcome)) => Ok(row_in_outcome(&outcome)),
        Ok(Answer::Parts(mut parts)) => loop {
            match parts.next().await {
                Some(Ok(Part::Rows(block))) if !block.is_empty() => break Ok(true),
                Some(Ok(Part::Step(step, _))) => break Ok(row_in_step(&step)),
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(false),
            }
        },
        Err(error) => Err(error),
    };
    match found {
        Ok(true) => Verdict::Granted,
        Ok(false) => Verdict::Denied,
        Err(error) => Verdict::Unknown(error),
    }
}

fn row_in_outcome(outcome: &Outcome) -> bool {
    outcome.steps.first().is_some_and(row_in_step)
}

fn row_in_step(step: &StepOutcome) -> bool {
    match step {
        StepOutcome::Rows(rows) => !rows.is_empty(),
        StepOutcome::Failed(failure) => {
            log_failed_query(failure);
            false
        }
        StepOutcome::Changed(_) | StepOutcome::ChangedEach(_) => false,
    }
}

/// The operator learns what is wrong with his query; the client does not.
fn log_failed_query(failure: &Failure) {
    tracing::error!("in checking credentials: {failure}");
}

/// Whether a token is the one whose SHA-256 is known; no known one, no token needed.
pub(crate) fn token_matches(expected_sha256: Option<&[u8; 32]>, token: Option<&str>) -> bool {
    expected_sha256.is_none_or(|expected| digests_equal(&sha256(token.unwrap_or("")), expected) && token.is_some())
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn digests_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

/// The credentials in an `Authorization` header of the Basic scheme (RFC 7617); `None` if it is anything else.
pub(crate) fn basic(header: &[u8]) -> Option<Credentials> {
    const SCHEME: &[u8] = b"basic ";
    let (scheme, encoded) = header.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let decoded = BASE64.decode(encoded).ok()?;
    let decoded = String::from_utf8_lossy(&decoded);
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn user_and_password(header: &str) -> Option<(String, String)> {
        basic(header.as_bytes()).map(|credentials| (credentials.user, credentials.password))
    }

    #[test]
    fn basic_headers() {
        let known = Some(("user1".to_owned(), "password".to_owned()));
        for header in ["Basic dXNlcjE6cGFzc3dvcmQ=", "basic dXNlcjE6cGFzc3dvcmQ=", "BASIC dXNlcjE6cGFzc3dvcmQ"] {
            assert_eq!(user_and_password(header), known, "{header}");
        }
        for header in
            ["", "Basic", "Basic ", "Bearer abc", "Basic  dXNlcjE6cGFzc3dvcmQ=", "Basic dXNlcjE=", "Basic %%%"]
        {
            assert_eq!(user_and_password(header), None, "{header}");
        }
        assert_eq!(user_and_password("Basic YTpiOmM="), Some(("a".into(), "b:c".into())));
        assert_eq!(user_and_password("Basic Og=="), Some((String::new(), String::new())));
        assert_eq!(user_and_password("Basic w7w6w6Q="), Some(("ü".into(), "ä".into())));
    }

    struct NoBackend;

    impl Backend for NoBackend {
        fn request(&self, _: Batch, _: ReadLevel, _: Deadline) -> sqlhttp_core::BoxFuture<'_, Result<Answer, Error>> {
            Box::pin(async { Err(Error::Closed) })
        }

        fn query(&self, _: Batch, _: ReadLevel, _: Deadline) -> sqlhttp_core::BoxFuture<'_, Result<Answer, Error>> {
            Box::pin(async { Err(Error::Closed) })
        }
    }

    async fn granted(users: &Users, user: &str, password: &str) -> bool {
        let credentials = Credentials { user: user.into(), password: password.into() };
        matches!(check(users, &credentials, &NoBackend, Deadline::NEVER).await, Verdict::Granted)
    }

    #[tokio::test]
    async fn known_users() {
        let zeros = ("zeros".to_owned(), [0; 32]);
        let users = Users::ByCredentials(HashMap::from([("pietro".to_owned(), sha256("hey")), zeros]));
        assert!(granted(&users, "pietro", "hey").await);
        assert!(!granted(&users, "pietro", "hex").await);
        assert!(!granted(&users, "PIETRO", "hey").await);
        assert!(!granted(&users, "", "").await);
        // Who sends the hash instead of the password does not get in.
        let hash = "fa690b82061edfd2852629aeba8a8977b57e40fcb77d1a7a28b26cba62591204";
        assert!(!granted(&users, "pietro", hash).await);
        assert!(!granted(&Users::ByCredentials(HashMap::new()), "", "").await);
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_asked_is_no_denial() {
        let users = Users::ByQuery("SELECT 1".into());
        let credentials = Credentials { user: "u".into(), password: "p".into() };
        let verdict = check(&users, &credentials, &NoBackend, Deadline::NEVER).await;
        assert!(matches!(verdict, Verdict::Unknown(Error::Closed)));
    }

    #[test]
    fn tokens() {
        let expected = sha256("secret");
        assert!(token_matches(Some(&expected), Some("secret")));
        assert!(!token_matches(Some(&expected), Some("Secret")));
        assert!(!token_matches(Some(&expected), None));
        assert!(!token_matches(Some(&sha256("")), None));
        assert!(token_matches(None, None));
        assert!(token_matches(None, Some("anything")));
    }
}
