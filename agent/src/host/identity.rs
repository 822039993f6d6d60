//! What the agent keeps of who this host is: its id, and the address that it chose.
//!
//! The file `identity` in the state folder is private, because an id is half a secret. It
//! names the machine that it was made on, so that the copy of a disk is another host.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fleetbeat_daemon::condition::Condition;
use fleetbeat_protocol::{AgentId, parse_ip};
use fleetbeat_settings::read_file;

use crate::http::sha256;
use crate::state_folder::{self, Lock};

/// The file's name in the state folder.
const FILE_NAME: &str = "identity";
/// A longer file holds something else.
const MAX_BYTES: u64 = 4096;
/// Where a Linux system has its own id.
pub(crate) const MACHINE_ID: &str = "/etc/machine-id";
/// How much of the machine's hash is kept: enough to tell machines apart.
const MACHINE_BYTES: usize = 8;

/// What is kept, as far as it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) agent_id: AgentId,
    /// The address that the agent chose, and by which the server knows the host.
    pub(crate) address: Option<IpAddr>,
    /// The address of the other family that the host has lost, and may have again.
    pub(crate) former: Option<IpAddr>,
}

/// The identity of a running agent.
pub(crate) struct Identity {
    kept: Kept,
    path: PathBuf,
    machine: String,
    /// The file says what `kept` says.
    is_saved: bool,
    /// The agent has worked here before it kept an identity.
    is_upgraded: bool,
    /// Whether this process has read or written the file. Until then another process may
    /// have given the host an id meanwhile.
    has_file: bool,
    /// The id was just made up, and not because the disk was copied: a key may say better
    /// who the host is.
    is_made_up: bool,
    trouble: Condition,
}

impl Identity {
    /// The identity kept in `folder`, or a new one for the machine whose id is in the
    /// file `machine_id`. Nothing is written yet. `has_worked` says that an agent has
    /// used the folder before.
    pub(crate) fn load(folder: &Path, machine_id: &Path, has_worked: bool) -> Identity {
        let path = folder.join(FILE_NAME);
        let machine = hash_machine(machine_id);
        let mut is_made_up = true;
        let kept = match read(&path, &machine) {
            Ok(kept) => {
                is_made_up = false;
                Some(kept)
            }
            Err(Unusable::OtherMachine) => {
                is_made_up = false;
                log::warn!(
                    "{}: was made on another machine: this host gets an identity of its \
                     own",
                    path.display()
                );
                None
            }
            Err(Unusable::Broken(error)) => {
                log::warn!("{}: {error}: this host gets a new identity", path.display());
                None
            }
            Err(Unusable::Absent) => None,
        };

        Identity {
            is_saved: kept.is_some(),
            has_file: kept.is_some(),
            is_upgraded: kept.is_none() && has_worked,
            kept: kept.unwrap_or_else(|| Kept {
                agent_id: new_id(),
                address: None,
                former: None,
            }),
            path,
            machine,
            is_made_up,
            trouble: Condition::default(),
        }
    }

    /// Takes the id of the `owner` of the host's key, if the id here was made up; says in
    /// the log if this host is another one.
    pub(crate) fn match_key(&mut self, owner: AgentId) {
        let id = self.kept.agent_id;
        if self.is_made_up {
            self.kept.agent_id = owner;
            self.has_file = true;
            self.is_saved &= owner == id;
        } else if owner != id {
            log::error!(
                "the key is that of the host {owner}…, and this host is {id}…: the server \
                 will refuse its heartbeats, until `fleetbeat-agent enroll` gets this host \
                 a key of its own"
            );
        }
        self.is_made_up = false;
    }

    /// Whether the identity is in its file.
    pub(crate) fn is_saved(&self) -> bool {
        self.is_saved
    }

    pub(crate) fn kept(&self) -> Kept {
        self.kept
    }

    /// Whether an earlier version has chosen this host's address, by its own rules.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.is_upgraded
    }

    /// Keeps the addresses as well.
    pub(crate) fn set_addresses(
        &mut self,
        address: Option<IpAddr>,
        former: Option<IpAddr>,
    ) {
        let kept = Kept {
            address,
            former,
            ..self.kept
        };
        self.is_saved &= self.kept == kept;
        self.kept = kept;
    }

    /// Writes the file if it does not say what is kept. Without the file the agent works
    /// on, and the log says so once. Where another process has given this host an id since
    /// the file was looked for, that id counts.
    pub(crate) fn save(&mut self) {
        if self.is_saved {
            return;
        }
        match self.write() {
            Ok(()) => {
                self.is_saved = true;
                self.trouble.ends();
            }
            Err(error) if self.trouble.begins(error.to_string()) => log::warn!(
                "{}: {error}: the host's identity is not kept, so after the agent's next \
                 start the server knows the host by its address alone",
                self.path.display()
            ),
            Err(_) => {}
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let _lock = Lock::of_folder(&self.path)?;
        if !self.has_file
            && let Ok(other) = read(&self.path, &self.machine)
        {
            self.kept.agent_id = other.agent_id;
        }
        state_folder::replace(&self.path, self.text().as_bytes())?;
        self.has_file = true;
        Ok(())
    }

    fn text(&self) -> String {
        let line = |name, ip: Option<IpAddr>| {
            ip.map_or_else(String::new, |ip| format!("{name} {ip}\n"))
        };
        format!(
            "# Who this host is to fleetbeat-server. Not to be copied to another host.\n\
             agent_id {}\nmachine {}\n{}{}",
            self.kept.agent_id.expose(),
            self.machine,
            line("address", self.kept.address),
            line("former", self.kept.former)
        )
    }
}

/// The identity kept in `folder`, for people: nothing is made. `None` if there is none
/// that this user can read, or if it is another machine's.
pub(crate) fn peek(folder: &Path) -> Option<Kept> {
    let machine = hash_machine(Path::new(MACHINE_ID));
    read(&folder.join(FILE_NAME), &machine).ok()
}

/// Why a file holds no identity for this host.
enum Unusable {
    Absent,
    OtherMachine,
    Broken(io::Error),
}

fn read(path: &Path, machine: &str) -> Result<Kept, Unusable> {
    let text = state_folder::read(path, MAX_BYTES).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unusable::Absent
        } else {
            Unusable::Broken(error)
        }
    })?;

    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let broken = || Unusable::Broken(io::Error::other("is damaged"));
    let agent_id = value("agent_id").and_then(AgentId::parse);
    let agent_id = agent_id.ok_or_else(broken)?;
    if value("machine").ok_or_else(broken)? != machine {
        return Err(Unusable::OtherMachine);
    }
    Ok(Kept {
        agent_id,
        address: value("address").and_then(parse_ip),
        former: value("former").and_then(parse_ip),
    })
}

/// A hash of the machine's id, which itself is nobody else's business. A system without
/// an id, such as a container, has a hash as well.
fn hash_machine(machine_id: &Path) -> String {
    let id = read_file(machine_id, MAX_BYTES).unwrap_or_default();
    let id = String::from_utf8_lossy(&id);
    let hash = sha256(format!("fleetbeat-agent {}", id.trim()).as_bytes());
    let shown = hash.iter().take(MACHINE_BYTES);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

fn new_id() -> AgentId {
    let mut bits = [0; 16];
    if let Err(error) = getrandom::fill(&mut bits) {
        log::warn!("the system gives no random numbers: {error}");
    }
    AgentId::from_bits(u128::from_be_bytes(bits))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn an_identity_stays_over_restarts_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let machine_id = folder.path().join("machine-id");
        fs::write(&machine_id, "0123456789abcdef0123456789abcdef\n").unwrap();
        let load = || Identity::load(folder.path(), &machine_id, false);
        let file = folder.path().join(FILE_NAME);

        let mut first = load();
        assert!(!file.exists(), "nothing is written before the agent runs");
        first.save();
        let address = Some("2001:db8::7".parse().unwrap());
        let former = Some([192, 0, 2, 7].into());
        first.set_addresses(address, former);
        first.save();
        assert_eq!(load().kept(), first.kept());
        assert_eq!(
            (load().kept().address, load().kept().former),
            (address, former)
        );
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("0123456789abcdef0123"), "{text}");

        first.set_addresses(None, None);
        first.save();
        assert_eq!(load().kept().address, None);
    }

    #[test]
    fn the_first_id_that_is_written_is_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let load = || Identity::load(folder.path(), Path::new(MACHINE_ID), false);
        let mut all = [load(), load(), load()];
        assert_ne!(all[0].kept().agent_id, all[1].kept().agent_id);
        for identity in &mut all {
            identity.save();
        }
        for identity in &all {
            assert_eq!(identity.kept().agent_id, all[0].kept().agent_id);
        }
        assert_eq!(load().kept(), all[0].kept());
    }

    #[test]
    fn a_copied_disk_is_another_host() {
        let folder = tempfile::tempdir().unwrap();
        let machine_id = folder.path().join("machine-id");
        let load = || Identity::load(folder.path(), &machine_id, true);

        // An image may be made before its machine has an id.
        let mut ids = Vec::new();
        for id in [None, Some("aaaa\n"), Some("bbbb\n")] {
            if let Some(id) = id {
                fs::write(&machine_id, id).unwrap();
            }
            let mut identity = load();
            identity.save();
            assert_eq!(load().kept().agent_id, identity.kept().agent_id);
            assert!(identity.is_upgraded() && !load().is_upgraded());
            ids.push(identity.kept().agent_id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn without_a_usable_file_the_agent_has_an_identity_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let mut identity = Identity::load(&absent, Path::new(MACHINE_ID), false);
        identity.save();
        assert!(!identity.is_saved);
        // The folder appears while the agent runs.
        fs::create_dir(&absent).unwrap();
        identity.save();
        let kept = Identity::load(&absent, Path::new(MACHINE_ID), false).kept();
        assert_eq!(kept, identity.kept());

        let file = absent.join(FILE_NAME);
        let long = "agent_id ".repeat(1000);
        for damaged in ["", "agent_id x\nmachine y\n", &long] {
            fs::write(&file, damaged).unwrap();
            let mut identity = Identity::load(&absent, Path::new(MACHINE_ID), false);
            identity.save();
            assert!(identity.is_saved, "{damaged:?}");
        }
        fs::remove_file(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        Identity::load(&absent, Path::new(MACHINE_ID), false).save();
    }
}
