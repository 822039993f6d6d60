//! Bearer tokens: JWTs signed with HS256 and nothing else.
//!
//! `jsonwebtoken` leaves the cryptography to a provider. The provider that comes with
//! `jsonwebtoken` brings RSA and elliptic curves along. Ours knows HMAC-SHA-256 only, so a
//! forged header cannot even name another algorithm.

use std::sync::Once;
use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How far the clocks of two instances may differ.
const LEEWAY_SECS: u64 = 10;

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The username.
    pub(super) sub: String,
    /// When it was issued, seconds since 1970.
    iat: i64,
    /// When it ends, seconds since 1970.
    exp: i64,
    /// The user's token version. When the user has got another one, the token has ended
    /// early.
    pub(super) ver: String,
    /// Who has proven who the user is, if that was not this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) via: Option<Via>,
}

/// Who has proven who a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// The proxy, which sees to a second factor by itself.
    Proxy,
}

/// Issues tokens under one key, and verifies those of several.
pub(super) struct Tokens {
    encoding: EncodingKey,
    decoding: Vec<DecodingKey>,
    validation: Validation,
    life: Duration,
}

impl Tokens {
    /// Tokens that are valid for `life`, under the first of `keys`; those under another one
    /// of them are verified, too.
    pub(super) fn new(keys: &[&[u8]], life: Duration) -> Tokens {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            PROVIDER
                .install_default()
                .expect("nothing else installs a provider");
        });

        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECS;
        validation.set_required_spec_claims(&["exp", "sub"]);

        Tokens {
            encoding: EncodingKey::from_secret(keys.first().copied().unwrap_or_default()),
            decoding: keys
                .iter()
                .map(|key| DecodingKey::from_secret(key))
                .collect(),
            validation,
            life,
        }
    }

    /// A token for the user that ends after the configured time.
    pub(super) fn issue(
        &self,
        username: &str,
        token_version: &str,
        via: Option<Via>,
        now: Timestamp,
    ) -> String {
        let iat = now.as_second();
        let exp = iat.saturating_add_unsigned(self.life.as_secs());
        let claims = Claims {
            sub: username.to_owned(),
            iat,
            exp,
            ver: token_version.to_owned(),
            via,
        };

        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("claims are plain JSON and the key is symmetric")
    }

    /// The claims of a token that is ours and has not ended.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        self.decoding.iter().find_map(|key| {
            let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation);
            Some(decoded.ok()?.claims)
        })
    }
}

/// The cryptography that `jsonwebtoken` is given.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        Ok(Box::new(HmacSha256::new(*algorithm, key.as_bytes())?))
    },
    verifier_factory: |algorithm, key| {
        Ok(Box::new(HmacSha256::new(
            *algorithm,
            key.try_get_as_bytes()?,
        )?))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// HMAC-SHA-256 under one key, which signs and verifies.
struct HmacSha256(Hmac<Sha256>);

impl HmacSha256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> Result<HmacSha256, Error> {
        if algorithm != Algorithm::HS256 {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Hmac::new_from_slice(key)
            .map(HmacSha256)
            .map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }
}

impl Signer<Vec<u8>> for HmacSha256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self
            .0
            .clone()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .to_vec())
    }
}

impl Verifier<Vec<u8>> for HmacSha256 {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> Result<(), signature::Error> {
        self.0
            .clone()
            .chain_update(message)
            .verify_slice(signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_token_carries_its_user_and_ends() {
        let now = Timestamp::now();
        let token = Tokens::new(&[KEY], DAY).issue("admin", "7", None, now);
        let claims = Tokens::new(&[KEY], DAY).verify(&token).unwrap();
        assert_eq!(
            (
                claims.sub.as_str(),
                claims.ver.as_str(),
                claims.exp - claims.iat
            ),
            ("admin", "7", 86_400)
        );

        let yesterday = now - jiff::SignedDuration::from_hours(25);
        let ended =
            Tokens::new(&[KEY], DAY).issue("admin", "7", Some(Via::Proxy), yesterday);
        assert_eq!(Tokens::new(&[KEY], DAY).verify(&ended), None);
    }

    #[test]
    fn a_signature_of_rfc_7515_verifies() {
        // RFC 7515, appendix A.1: an HS256 signature made by somebody else.
        let key = DecodingKey::from_base64_secret(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T+1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==",
        )
        .unwrap();
        let message = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        Tokens::new(&[KEY], DAY);
        let verified = jsonwebtoken::crypto::verify(
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            message,
            &key,
            Algorithm::HS256,
        );
        assert!(verified.unwrap());
    }

    #[test]
    fn forged_tokens_are_refused() {
        let tokens = Tokens::new(&[KEY], DAY);
        let token = tokens.issue("admin", "7", None, Timestamp::now());
        let (head_and_claims, signature) = token.rsplit_once('.').unwrap();
        let (_, claims) = head_and_claims.split_once('.').unwrap();
        let other_key = Tokens::new(&[b"another key of thirty-two bytes.."], DAY).issue(
            "admin",
            "7",
            None,
            Timestamp::now(),
        );
        // {"alg":"none"} and {"alg":"HS512"}
        let forged = [
            format!("eyJhbGciOiJub25lIn0.{claims}."),
            format!("eyJhbGciOiJIUzUxMiJ9.{claims}.{signature}"),
            format!("{head_and_claims}."),
            head_and_claims.to_owned(),
            format!("{token}x"),
            other_key,
            String::new(),
        ];
        for token in forged {
            assert_eq!(tokens.verify(&token), None, "{token}");
        }
    }

    #[test]
    fn the_first_key_signs_and_any_verifies() {
        let (old, new): (&[u8], &[u8]) = (&[b'o'; 32], &[b'n'; 32]);
        let issue = |keys: &[&[u8]]| {
            Tokens::new(keys, DAY).issue("admin", "7", None, Timestamp::now())
        };
        let both = Tokens::new(&[new, old], DAY);
        assert!(both.verify(&issue(&[old])).is_some());
        assert!(
            Tokens::new(&[new], DAY)
                .verify(&issue(&[new, old]))
                .is_some()
        );
        assert_eq!(Tokens::new(&[new], DAY).verify(&issue(&[old])), None);
        assert_eq!(both.verify(&issue(&[KEY])), None);
    }
}
