//! Keys that sign what a NATS server asks: nkey seeds, and credentials files (a user's JWT with its seed).

use std::path::Path;

use nkeys::{KeyPair, KeyPairType};

use crate::file::{self, FileError};

/// What stands above the token in a credentials file.
const JWT_BEGIN: &str = "BEGIN NATS USER JWT";
/// What stands above the seed in a credentials file.
const SEED_BEGIN: &str = "BEGIN USER NKEY SEED";

/// A user's token and the key that proves it.
pub(crate) struct Credentials {
    pub(crate) jwt: String,
    pub(crate) key: KeyPair,
}

/// Reads a credentials file (`.creds`), as `nsc` writes it.
pub(crate) async fn read_credentials(setting: &str, path: &Path) -> Result<Credentials, FileError> {
    let text = file::read(setting, path).await?;
    let block = |begin: &str| {
        below(&text, begin).ok_or_else(|| {
            let problem = format!(
                "holds no block \"-----{begin}-----\"; name the user's credentials file as `nsc generate creds` writes it"
            );
            FileError::new(setting, path, problem)
        })
    };
    let jwt = block(JWT_BEGIN)?.to_owned();
    let key = user_key(block(SEED_BEGIN)?).map_err(|problem| FileError::new(setting, path, problem))?;
    Ok(Credentials { jwt, key })
}

/// Reads a file with the seed of a user's nkey, as `nk -gen user` writes it.
pub(crate) async fn read_seed(setting: &str, path: &Path) -> Result<KeyPair, FileError> {
    let text = file::read(setting, path).await?;
    let wrong = |problem: String| FileError::new(setting, path, problem);
    if below(&text, JWT_BEGIN).is_some() {
        return Err(wrong(
            "holds a JWT besides the seed; name it as the credentials file instead".to_owned(),
        ));
    }
    let seed = below(&text, SEED_BEGIN).or_else(|| text.lines().map(str::trim).find(|line| !line.is_empty()));
    user_key(seed.unwrap_or_default()).map_err(wrong)
}

/// The first line below the one that says `begin`.
fn below<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains(begin))?;
    lines.find(|line| !line.is_empty() && !line.starts_with("---"))
}

/// The key of a seed. The seed itself is in no message.
fn user_key(seed: &str) -> Result<KeyPair, String> {
    let key = KeyPair::from_seed(seed).map_err(|_| {
        "holds no seed of an nkey; write the 58 characters that begin with SU, as `nk -gen user` prints them".to_owned()
    })?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        other => Err(format!(
            "holds the seed of another kind of key ({other:?}); name the seed of a user, which begins with SU"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn with<T>(text: &str, read: impl AsyncFnOnce(&Path) -> T) -> T {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path()).await
    }

    fn creds(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n****** IMPORTANT ******\r\n\
             NKEY Seed printed below can be used to sign and prove identity.\r\n\r\n-----BEGIN USER NKEY SEED-----\r\n\
             {seed}\r\n------END USER NKEY SEED------\r\n"
        )
    }

    #[tokio::test]
    async fn a_credentials_file_gives_token_and_key() {
        let user = KeyPair::new_user();
        let text = creds("a.b.c", &user.seed().unwrap());
        let read = with(&text, async |path| read_credentials("c", path).await).await;
        let found = read.unwrap();
        assert_eq!(
            (found.jwt.as_str(), found.key.public_key()),
            ("a.b.c", user.public_key())
        );
        assert!(user.verify(b"nonce", &found.key.sign(b"nonce").unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_seed_stands_alone_or_under_its_heading() {
        let user = KeyPair::new_user();
        let seed = user.seed().unwrap();
        for text in [
            format!("\n{seed}\n"),
            format!("{seed}\n{}\n", user.public_key()),
            format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"),
        ] {
            let key = with(&text, async |path| read_seed("s", path).await)
                .await
                .unwrap();
            assert_eq!(key.public_key(), user.public_key());
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named_and_no_seed_is_shown() {
        let account = KeyPair::new_account().seed().unwrap();
        let user = KeyPair::new_user().seed().unwrap();
        let mut wrong = user.clone();
        wrong.replace_range(9..10, if &user[9..10] == "A" { "B" } else { "A" });
        for (text, problem) in [
            (String::new(), JWT_BEGIN),
            (user.clone(), JWT_BEGIN),
            (format!("-----{JWT_BEGIN}-----\na.b.c\n"), SEED_BEGIN),
            (creds("a.b.c", &account), "Account"),
            (creds("a.b.c", &wrong), "begin with SU"),
        ] {
            let read = with(&text, async |path| read_credentials("c", path).await).await;
            let error = read.err().unwrap().to_string();
            assert!(error.starts_with("c: /") && error.contains(problem), "{error}");
            assert!(
                !error.contains(&account) && !error.contains(&wrong[10..]),
                "{error}"
            );
        }
        for (text, problem) in [
            (String::new(), "begin with SU"),
            (wrong.clone(), "begin with SU"),
            (account.clone(), "Account"),
            (creds("a.b.c", &user), "credentials file"),
        ] {
            let read = with(&text, async |path| read_seed("s", path).await).await;
            let error = read.err().unwrap().to_string();
            assert!(error.starts_with("s: /") && error.contains(problem), "{error}");
            assert!(
                !error.contains(&user[10..]) && !error.contains(&wrong[10..]),
                "{error}"
            );
        }
    }
}
