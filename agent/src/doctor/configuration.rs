//! Whether the configuration can be used.

use super::finding::{Finding, Trouble};
use super::found::Found;
use crate::config::{Config, KeyNeed};

/// Loads the configuration. A missing key is for the step "key" to tell: all steps before
/// it do without.
pub(super) fn load(found: &mut Found) -> Finding {
    let config = Config::load(&found.path, KeyNeed::Optional).map_err(|problems| {
        let advice = "correct this; man agent.toml shows every setting";
        Trouble::new(problems.to_string(), advice)
    })?;
    found.config = Some(config);
    Ok(format!("{} is valid", found.path.display()))
}
