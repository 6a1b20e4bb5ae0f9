//! A NATS operator with one account, as `nsc` would set it up: everybody comes with a JWT and signs with a key.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Who may say that somebody is a user.
#[derive(Debug)]
pub struct Operator {
    key: KeyPair,
    account: KeyPair,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            key: KeyPair::new_operator(),
            account: KeyPair::new_account(),
        }
    }
}

impl Operator {
    /// What makes a nats-server trust this operator, for its configuration.
    pub fn config(&self) -> String {
        let (operator, account) = (self.key.public_key(), self.account.public_key());
        let trusted = jwt(
            &self.key,
            &operator,
            json!({"type": "operator", "version": 2}),
            None,
        );
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1,
        });
        let claims = json!({"type": "account", "version": 2, "limits": limits});
        let known = jwt(&self.key, &account, claims, None);
        format!("operator: {trusted}\nresolver: MEMORY\nresolver_preload: {{ {account}: \"{known}\" }}\n")
    }

    /// The credentials file of a new user; they were good until yesterday where `expired`.
    ///
    /// # Panics
    /// Panics where the key has no seed.
    pub fn credentials(&self, expired: bool) -> String {
        let user = KeyPair::new_user();
        let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}});
        let end = expired.then(|| now() - 24 * 3_600);
        let token = jwt(&self.account, &user.public_key(), claims, end);
        let seed = user.seed().expect("a new key has a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn jwt(issuer: &KeyPair, subject: &str, nats: Value, expires: Option<u64>) -> String {
    let mut claims = json!({
        "jti": subject, "iat": now() - 48 * 3_600, "iss": issuer.public_key(), "name": "test", "sub": subject, "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    let encode = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let signed = format!("{header}.{}", encode(claims));
    let signature = issuer.sign(signed.as_bytes()).expect("the issuer has a seed");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
