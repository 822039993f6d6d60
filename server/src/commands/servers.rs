//! `servers list`: the hosts in the store, beside a running server.

use std::io::{self, BufWriter, Write};

use fleetbeat_daemon::clock;
use fleetbeat_selector::Selector;

use super::show;
use crate::error::ServerError;
use crate::fleet::selection::Selection;
use crate::fleet::shown::{Shown, ShownFleet};
use crate::places::Places;
use crate::store::ServerStore;

/// Prints a line for each host that `select` means, sorted by address: all hosts without
/// a selector, and in either case also those that are down or not enabled.
///
/// # Errors
/// The store cannot be read, or the lines cannot be written.
pub(super) fn list(
    store: &(impl ServerStore + ?Sized),
    places: &Places,
    select: Option<Selector>,
    output: &mut dyn Write,
) -> Result<(), ServerError> {
    let now = clock::now();
    let selection = select.map(|selector| Selection::new(selector, now));
    let is_wanted = |server: &Shown| {
        let select = selection.as_ref();
        select.is_none_or(|select| select.wants(server))
    };

    let fleet = ShownFleet::new(store.fleet(None)?, now, places.database());
    let wanted = fleet.servers.iter().filter(|server| is_wanted(server));
    print(wanted, output).map_err(ServerError::Output)
}

fn print<'a>(
    servers: impl Iterator<Item = &'a Shown>,
    output: &mut dyn Write,
) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    for server in servers {
        writeln!(
            output,
            "{}\t{}\t{}\t{}\t{}\t{}",
            server.ip,
            server.server_id,
            server.status.as_str(),
            show::text(&server.hostname),
            show::text(&server.country_code),
            show::text(&server.city),
        )?;
    }
    output.flush()
}
