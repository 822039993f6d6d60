//! Whether a host's key is taken: the rules of `POST /enroll`, which both backends follow.

use fleetbeat_protocol::KeyHash;
use jiff::SignedDuration;
use subtle::ConstantTimeEq;

use super::key::{AgentKey, Code, EnrollRefusal, EnrollRequest};

/// Codes that have ended so long ago are forgotten.
pub(super) const ENDED_CODES_STAY: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What is to be done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnrollStep {
    /// Nothing: it was taken before.
    Nothing,
    /// It follows the present key as soon as it is used.
    Follow,
    /// It is the host's key from now on, and the code has one use less. `again`: the host
    /// had a key before.
    Take { again: bool },
}

/// What is to be done with the key of `request`. `key` is the host's, and `code` the one
/// that the request names, as they are stored; `is_at_record` says whether the request
/// comes from the address of the host's record.
///
/// Whoever has neither a good code nor the host's key learns nothing about the host.
///
/// # Errors
/// The key is not taken.
pub(super) fn decide(
    request: &EnrollRequest,
    key: Option<&AgentKey>,
    code: Option<&Code>,
    is_at_record: bool,
) -> Result<EnrollStep, EnrollRefusal> {
    let active = key.filter(|key| key.is_active());
    let is_proven = active
        .zip(request.presented)
        .is_some_and(|(key, presented)| is_one_of(key, presented));
    let code = find_code(request, code);

    if let Some(active) = active {
        if active.knows(request.hash) {
            let has_code = code.is_ok_and(|code| code.id == active.code);
            if is_proven || has_code {
                return Ok(EnrollStep::Nothing);
            }
        } else if is_proven && active.has_ended(request.hash) {
            return Err(EnrollRefusal::Revoked);
        } else if is_proven {
            return Ok(EnrollStep::Follow);
        }
    }

    let code = code?;
    check_code(request, code)?;
    if key.is_some_and(|key| key.has_ended(request.hash)) {
        return Err(EnrollRefusal::Revoked);
    }
    match (active, key) {
        (Some(_), _) if code.reinstall && is_at_record => {
            Ok(EnrollStep::Take { again: true })
        }
        (Some(_), _) => Err(EnrollRefusal::HasKey),
        (None, before) => Ok(EnrollStep::Take {
            again: before.is_some_and(|key| key.hash.is_some()),
        }),
    }
}

/// Whether `hash` is that of the key or of its successor, in constant time.
fn is_one_of(key: &AgentKey, hash: KeyHash) -> bool {
    let is = |known: &KeyHash| bool::from(known.0.ct_eq(&hash.0));
    key.hash.as_ref().is_some_and(is) | key.next.as_ref().is_some_and(is)
}

/// The code that the request names, if the request has it.
fn find_code<'a>(
    request: &EnrollRequest,
    code: Option<&'a Code>,
) -> Result<&'a Code, EnrollRefusal> {
    let (_, hash) = request.code.as_ref().ok_or(EnrollRefusal::NoProof)?;
    code.filter(|code| bool::from(code.hash.0.ct_eq(&hash.0)))
        .ok_or(EnrollRefusal::UnknownCode)
}

/// Whether the code may be used once more.
fn check_code(request: &EnrollRequest, code: &Code) -> Result<(), EnrollRefusal> {
    if request.at >= code.expires_at {
        return Err(EnrollRefusal::ExpiredCode);
    }
    let is_within = |source| code.networks.iter().any(|net| net.contains(&source));
    if !code.networks.is_empty() && !request.source.is_some_and(is_within) {
        return Err(EnrollRefusal::ForeignNetwork);
    }
    if code.uses >= code.max_uses {
        return Err(EnrollRefusal::UsedUpCode);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::{AgentId, FlagsPatch, Timestamp};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn hash(n: u8) -> KeyHash {
        KeyHash([n; 32])
    }

    fn code() -> Code {
        Code {
            id: "c".to_owned(),
            hash: hash(9),
            max_uses: 1,
            uses: 0,
            expires_at: NOW + SignedDuration::from_hours(1),
            flags: FlagsPatch::default(),
            networks: Vec::new(),
            reinstall: false,
            note: String::new(),
            created_by: "ann".to_owned(),
            created_at: NOW,
        }
    }

    fn key(hash: KeyHash) -> AgentKey {
        AgentKey {
            agent_id: AgentId::from_bits(7),
            hostname: String::new(),
            hash: Some(hash),
            next: None,
            ended: Vec::new(),
            rotate: false,
            revoked_at: None,
            removed_at: None,
            code: "c".to_owned(),
            flags: FlagsPatch::default(),
            reinstall: false,
            enrolled_at: NOW,
            rev: 1,
        }
    }

    fn request(n: u8) -> EnrollRequest {
        EnrollRequest {
            agent_id: AgentId::from_bits(7),
            hash: hash(n),
            hostname: String::new(),
            code: Some(("c".to_owned(), hash(9))),
            presented: None,
            source: Some([10, 0, 0, 7].into()),
            at: NOW,
        }
    }

    type Decided = Result<EnrollStep, EnrollRefusal>;
    const TAKEN: Decided = Ok(EnrollStep::Take { again: false });
    const TAKEN_AGAIN: Decided = Ok(EnrollStep::Take { again: true });

    #[test]
    fn a_code_enrols_a_host_while_it_may() {
        let used_up = Code { uses: 1, ..code() };
        let expired = Code {
            expires_at: NOW,
            ..code()
        };
        let other = Code {
            hash: hash(8),
            ..code()
        };
        let near = Code {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            ..code()
        };
        let far = Code {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            ..code()
        };
        for (code, expected) in [
            (Some(code()), TAKEN),
            (Some(near), TAKEN),
            (None, Err(EnrollRefusal::UnknownCode)),
            (Some(other), Err(EnrollRefusal::UnknownCode)),
            (Some(expired), Err(EnrollRefusal::ExpiredCode)),
            (Some(used_up), Err(EnrollRefusal::UsedUpCode)),
            (Some(far.clone()), Err(EnrollRefusal::ForeignNetwork)),
        ] {
            let decided = decide(&request(1), None, code.as_ref(), false);
            assert_eq!(decided, expected, "{code:?}");
        }
        let nowhere = EnrollRequest {
            source: None,
            ..request(1)
        };
        let decided = decide(&nowhere, None, Some(&far), false);
        assert_eq!(decided, Err(EnrollRefusal::ForeignNetwork));
        let without = EnrollRequest {
            code: None,
            ..request(1)
        };
        assert_eq!(
            decide(&without, None, None, false),
            Err(EnrollRefusal::NoProof)
        );
    }

    #[test]
    fn the_same_call_again_has_the_same_end() {
        // The code is used up by the first call, or has ended meanwhile.
        for code in [
            Code { uses: 1, ..code() },
            Code {
                expires_at: NOW,
                ..code()
            },
        ] {
            let decided = decide(&request(1), Some(&key(hash(1))), Some(&code), false);
            assert_eq!(decided, Ok(EnrollStep::Nothing), "{code:?}");
        }
        // The key itself is enough.
        let with_key = EnrollRequest {
            presented: Some(hash(1)),
            ..request(1)
        };
        let decided = decide(&with_key, Some(&key(hash(1))), None, false);
        assert_eq!(decided, Ok(EnrollStep::Nothing));
    }

    #[test]
    fn nobody_takes_over_a_host_that_has_a_key() {
        let has_key = key(hash(1));
        let presents = |n| EnrollRequest {
            presented: Some(hash(n)),
            ..request(2)
        };
        let without_code = |n| EnrollRequest {
            code: None,
            ..presents(n)
        };
        let good = Some(code());
        let reinstall = Some(Code {
            reinstall: true,
            ..code()
        });
        for (request, code, is_at_record, expected) in [
            // Another host's code, or a code of one's own.
            (request(2), &good, true, Err(EnrollRefusal::HasKey)),
            (request(2), &None, true, Err(EnrollRefusal::UnknownCode)),
            (presents(3), &good, true, Err(EnrollRefusal::HasKey)),
            (without_code(3), &None, true, Err(EnrollRefusal::NoProof)),
            // The host itself.
            (without_code(1), &None, false, Ok(EnrollStep::Follow)),
            (presents(1), &None, false, Ok(EnrollStep::Follow)),
            // Installed again.
            (request(2), &reinstall, true, TAKEN_AGAIN),
            (request(2), &reinstall, false, Err(EnrollRefusal::HasKey)),
        ] {
            let decided = decide(&request, Some(&has_key), code.as_ref(), is_at_record);
            assert_eq!(decided, expected, "{request:?} {code:?}");
        }
        // A stranger who knows the hash has nothing.
        let stranger = EnrollRequest {
            code: None,
            ..request(1)
        };
        let decided = decide(&stranger, Some(&has_key), None, true);
        assert_eq!(decided, Err(EnrollRefusal::NoProof));
    }

    #[test]
    fn a_key_that_follows_may_be_exchanged_and_asked_for_again() {
        let rotating = AgentKey {
            next: Some(hash(2)),
            ..key(hash(1))
        };
        for (presented, new, expected) in [
            (1, 2, EnrollStep::Nothing),
            (2, 2, EnrollStep::Nothing),
            (1, 3, EnrollStep::Follow),
            (2, 3, EnrollStep::Follow),
        ] {
            let request = EnrollRequest {
                code: None,
                presented: Some(hash(presented)),
                ..request(new)
            };
            let decided = decide(&request, Some(&rotating), None, false);
            assert_eq!(decided, Ok(expected), "{presented} {new}");
        }
    }

    #[test]
    fn a_removed_host_comes_back_by_a_code() {
        let good = code();
        let mark = AgentKey::mark_of_removed(AgentId::from_bits(7), "a", NOW, 1);
        assert_eq!(decide(&request(2), Some(&mark), Some(&good), true), TAKEN);
        let removed = AgentKey {
            removed_at: Some(NOW),
            ..key(hash(1))
        };
        let decide =
            |request: &EnrollRequest, code| decide(request, Some(&removed), code, true);
        assert_eq!(decide(&request(2), Some(&good)), TAKEN_AGAIN);
        let with_key = EnrollRequest {
            code: None,
            presented: Some(hash(1)),
            ..request(2)
        };
        assert_eq!(decide(&with_key, None), Err(EnrollRefusal::NoProof));
        assert_eq!(
            decide(&request(1), Some(&good)),
            Err(EnrollRefusal::Revoked)
        );
    }

    #[test]
    fn a_revoked_key_never_comes_back_and_its_host_does_by_a_code() {
        let revoked = AgentKey {
            revoked_at: Some(NOW),
            ..key(hash(1))
        };
        let good = code();
        let decide =
            |request: &EnrollRequest, code| decide(request, Some(&revoked), code, true);
        assert_eq!(decide(&request(2), Some(&good)), TAKEN_AGAIN);
        assert_eq!(
            decide(&request(1), Some(&good)),
            Err(EnrollRefusal::Revoked)
        );
        let with_key = EnrollRequest {
            code: None,
            presented: Some(hash(1)),
            ..request(2)
        };
        assert_eq!(decide(&with_key, None), Err(EnrollRefusal::NoProof));
        assert_eq!(decide(&request(1), None), Err(EnrollRefusal::UnknownCode));
        // Nor after the key that came behind it.
        let has_other = AgentKey {
            ended: revoked.ended_with_this(),
            ..key(hash(2))
        };
        let reinstall = Code {
            reinstall: true,
            ..code()
        };
        for (presented, code) in
            [(None, &good), (None, &reinstall), (Some(hash(2)), &good)]
        {
            let request = EnrollRequest {
                presented,
                ..request(1)
            };
            let decided = super::decide(&request, Some(&has_other), Some(code), true);
            assert_eq!(decided, Err(EnrollRefusal::Revoked));
        }
    }
}
