//! `enroll-code`: makes a code with which hosts get a key of their own, beside the running
//! server or before its first start.

use fleetbeat_protocol::NewCode;

use super::audit;
use crate::auth::codes::new_code;
use crate::error::ServerError;
use crate::network::parse_network;
use crate::store::KeyStore;

/// Makes the code and prints it. The code alone goes to standard output, so that a script
/// can hand it on.
///
/// # Errors
/// A network is none, or the store has not done it.
pub(super) fn make(
    store: &(impl KeyStore + ?Sized),
    wish: NewCode,
) -> Result<(), ServerError> {
    let networks = wish.networks.iter().map(|text| parse_network(text));
    let networks = networks
        .collect::<Result<Vec<_>, _>>()
        .map_err(|message| ServerError::Usage(format!("--network {message}")))?;

    let act = audit::act();
    let (code, text) = new_code(wish, networks, audit::caller(), act.at)?;
    store.add_code(&code, &act)?;

    println!("{text}");
    eprintln!(
        "for {} until {:.0}. On the host, as root:\n\
         fleetbeat-agent enroll --server https://THIS-SERVER --code CODE",
        match code.max_uses {
            1 => "one host".to_owned(),
            hosts => format!("{hosts} hosts"),
        },
        code.expires_at,
    );
    audit::log(&format!("made the enrolment code {}", code.id));
    Ok(())
}
