//! Whether the configuration can be used.

use super::finding::{Finding, Trouble};
use super::found::Found;
use crate::config::{CLOSED_ADVICE, Config, KeyNeed};

/// Loads the configuration. A missing key is for the step "key" to tell: all steps before
/// it do without.
pub(super) fn load(found: &mut Found) -> Finding {
    let config = Config::load(&found.path, KeyNeed::Optional).map_err(|problems| {
        let what = problems.to_string();
        let advice = if what.contains("Permission denied") {
            CLOSED_ADVICE
        } else if what.contains("No such file") {
            "is the path right? The service reads /etc/fleetbeat/agent.toml"
        } else {
            "correct this; man agent.toml shows every setting"
        };
        Trouble::new(what, advice)
    })?;
    found.config = Some(config);
    Ok(format!("{} is valid", found.path.display()))
}
