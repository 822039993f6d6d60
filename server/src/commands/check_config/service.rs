//! The packaged service, as far as the files of its unit tell: as whom it runs, what it
//! sees, and which variables it gets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::accounts::{self, Account};

const UNIT: &str = "fleetbeat-server.service";
/// The folders of units; a unit in an earlier one replaces those in the later ones.
const FOLDERS: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// The configuration that the service reads, unless the unit names another one.
const USUAL_CONFIG: &str = "/etc/fleetbeat/server.toml";
/// What a process needs for a port that the kernel keeps for the privileged.
const LOW_PORTS: &str = "CAP_NET_BIND_SERVICE";
/// Settings that hide folders from the service, and the folders.
const HIDING: [(&str, &[&str]); 2] = [
    ("ProtectHome", &["/home", "/root", "/run/user"]),
    ("PrivateTmp", &["/tmp", "/var/tmp"]),
];

/// The unit of fleetbeat-server on this machine, with its drop-ins.
pub(super) struct Service {
    /// The keys and values of the section [Service], in the order in which they count.
    settings: Vec<(String, String)>,
}

/// A variable that the service gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    /// Where the variable is set, for people.
    pub(super) place: String,
}

impl Service {
    /// The service that reads `config`, by the files below `root`; `None` if there is no
    /// such service.
    pub(super) fn find(root: &Path, config: &Path) -> Option<Service> {
        let units = FOLDERS.map(|folder| root.join(folder).join(UNIT));
        let unit = units
            .iter()
            .find_map(|unit| fs::read_to_string(unit).ok())?;
        let mut settings: Vec<_> = settings_of(&unit).collect();
        for drop_in in drop_ins(root) {
            let text = fs::read_to_string(drop_in).unwrap_or_default();
            settings.extend(settings_of(&text));
        }

        let service = Service { settings };
        let mut commands = service.values("ExecStart");
        let is_read = config == Path::new(USUAL_CONFIG)
            || commands.any(|command| command.contains(&*config.to_string_lossy()));
        drop(commands);
        is_read.then_some(service)
    }

    /// All values of a setting.
    fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let settings = self.settings.iter();
        settings
            .filter(move |(found, _)| found == key)
            .map(|(_, value)| value.as_str())
    }

    /// As whom the service runs; `None` if that is root, or nobody whom the files below
    /// `root` know.
    pub(super) fn account(&self, root: &Path) -> Option<Account> {
        let mut account = Account::find(root, self.values("User").last()?)?;
        if account.uid == 0 {
            return None;
        }

        let group = |name: &str| {
            let number = name.parse().ok();
            number.or_else(|| accounts::find_group(root, name))
        };
        if let Some(gid) = self.values("Group").last().and_then(group) {
            account.gid = gid;
        }
        let further = self.values("SupplementaryGroups");
        let further = further.flat_map(str::split_whitespace).filter_map(group);
        account.groups.extend(further);
        Some(account)
    }

    /// The setting that hides `path` from the service.
    pub(super) fn find_hiding(&self, path: &Path) -> Option<&'static str> {
        let shown = self
            .values("BindPaths")
            .chain(self.values("BindReadOnlyPaths"));
        let mut shown = shown.flat_map(str::split_whitespace);
        let is_shown = shown.any(|shown| {
            path.starts_with(
                shown
                    .trim_start_matches('-')
                    .split(':')
                    .next()
                    .unwrap_or(""),
            )
        });

        let hides = |(setting, folders): &(&str, &[&str])| {
            let value = self.values(setting).last().unwrap_or("no");
            !["no", "false", "off", "0", "read-only"].contains(&value)
                && folders.iter().any(|folder| path.starts_with(folder))
        };
        let hiding = HIDING.iter().find(|hiding| hides(hiding));
        hiding.filter(|_| !is_shown).map(|(setting, _)| *setting)
    }

    /// Whether a setting opens one of the paths for writing.
    pub(super) fn may_write(&self, paths: &[&PathBuf]) -> bool {
        let opened = self
            .values("ReadWritePaths")
            .chain(self.values("BindPaths"));
        let mut opened = opened.flat_map(str::split_whitespace);
        opened.any(|opened| {
            let opened = opened.trim_start_matches(['-', '+']);
            let opened = opened.split(':').next_back().unwrap_or(opened);
            paths.iter().any(|path| path.starts_with(opened))
        })
    }

    /// Whether the service may listen on a port that the kernel keeps for the privileged.
    pub(super) fn may_take_low_ports(&self) -> bool {
        ["AmbientCapabilities", "CapabilityBoundingSet"]
            .iter()
            .all(|key| self.values(key).any(|value| value.contains(LOW_PORTS)))
    }

    /// The variables that the unit gives the service, the later ones first, and the files
    /// of variables that this user may not read.
    pub(super) fn environment(&self, root: &Path) -> (Vec<Variable>, Vec<PathBuf>) {
        let mut variables = Vec::new();
        for value in self.values("Environment") {
            variables.extend(parse_variables(value, "the unit's Environment="));
        }

        let mut closed = Vec::new();
        for value in self.values("EnvironmentFile") {
            let path = Path::new(value.trim_start_matches('-'));
            let file = root.join(path.strip_prefix("/").unwrap_or(path));
            match fs::read_to_string(file) {
                Ok(text) => {
                    let place = path.display().to_string();
                    variables.extend(parse_variables(&text, &place));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    closed.push(path.to_owned());
                }
                Err(_) => {}
            }
        }
        variables.reverse();
        (variables, closed)
    }
}

/// The drop-ins of the unit, in the order of their names.
fn drop_ins(root: &Path) -> Vec<PathBuf> {
    let folders = FOLDERS.map(|folder| root.join(folder).join(format!("{UNIT}.d")));
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    paths.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    paths
}

/// The keys and values of the section [Service] of a unit's text.
fn settings_of(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut is_service = false;
    let lines = text.lines().map(str::trim);
    lines.filter_map(move |line| {
        if line.starts_with('[') {
            is_service = line == "[Service]";
        }
        let (key, value) = line.split_once('=')?;
        let is_setting = is_service && !key.starts_with(['#', ';', '[']);
        is_setting.then(|| (key.trim().to_owned(), value.trim().to_owned()))
    })
}

/// The variables in a text with an assignment in each line.
fn parse_variables(text: &str, place: &str) -> Vec<Variable> {
    let lines = text.lines().map(str::trim);
    let assignments = lines.filter(|line| !line.starts_with(['#', ';']));
    assignments
        .filter_map(|line| unquote(line).split_once('='))
        .map(|(name, value)| Variable {
            name: name.trim().to_owned(),
            value: unquote(value.trim()).to_owned(),
            place: place.to_owned(),
        })
        .collect()
}

/// The text without the quotes around it.
fn unquote(text: &str) -> &str {
    let quotes = ['"', '\''].into_iter();
    let mut unquoted =
        quotes.filter_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    unquoted.next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGED: &str = include_str!("../../../../packaging/fleetbeat-server.service");

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// A machine with the packaged service, and what its operator has added.
    fn machine(drop_in: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let unit = format!("usr/lib/systemd/system/{UNIT}");
        write(root.path(), &unit, PACKAGED);
        let added = format!("etc/systemd/system/{UNIT}.d/override.conf");
        write(root.path(), &added, &format!("[Service]\n{drop_in}\n"));
        write(
            root.path(),
            "etc/passwd",
            "fleetbeat:x:998:997::/:/bin/false\n",
        );
        let groups = "fleetbeat:x:997:\nssl-cert:x:110:\nkeys:x:111:fleetbeat\n";
        write(root.path(), "etc/group", groups);
        root
    }

    fn service(root: &Path) -> Service {
        Service::find(root, Path::new(USUAL_CONFIG)).unwrap()
    }

    #[test]
    fn the_service_is_found_for_the_configuration_that_it_reads() {
        let nothing = tempfile::tempdir().unwrap();
        assert!(Service::find(nothing.path(), Path::new(USUAL_CONFIG)).is_none());
        let root =
            machine("ExecStart=\nExecStart=/usr/bin/fleetbeat-server -c /srv/s.toml");
        for (config, is_its) in [
            (USUAL_CONFIG, true),
            ("/srv/s.toml", true),
            ("/home/me/server.toml", false),
        ] {
            let found = Service::find(root.path(), Path::new(config));
            assert_eq!(found.is_some(), is_its, "{config}");
        }
    }

    #[test]
    fn the_service_runs_as_its_user_with_all_groups() {
        let root = machine("SupplementaryGroups=ssl-cert");
        let account = service(root.path()).account(root.path()).unwrap();
        assert_eq!((account.uid, account.gid), (998, 997));
        assert_eq!(account.groups, [111, 110]);
        let root = machine("User=root");
        assert_eq!(service(root.path()).account(root.path()), None);
    }

    #[test]
    fn the_walls_are_those_of_the_unit_and_its_drop_ins() {
        let root = machine("");
        let closed = service(root.path());
        assert!(!closed.may_take_low_ports());
        let hiding = |path: &str| closed.find_hiding(Path::new(path));
        assert_eq!(hiding("/root/key.pem"), Some("ProtectHome"));
        assert_eq!(hiding("/tmp/key.pem"), Some("PrivateTmp"));
        assert_eq!(hiding("/etc/fleetbeat/key.pem"), None);

        let root = machine(
            "ProtectHome=no\nReadWritePaths=/srv/a /srv/b\n\
             AmbientCapabilities=CAP_NET_BIND_SERVICE\n\
             CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        );
        let open = service(root.path());
        assert!(open.may_take_low_ports());
        assert_eq!(open.find_hiding(Path::new("/root/key.pem")), None);
        assert!(open.may_write(&[&"/srv/b".into()]));
        assert!(!open.may_write(&[&"/srv/c".into()]));
    }

    #[test]
    fn the_variables_are_those_of_the_unit_and_its_file() {
        let root = machine("Environment=\"FLEETBEAT_LISTEN=127.0.0.1:1\"");
        write(
            root.path(),
            "etc/fleetbeat/server.env",
            "# a comment\nAGENT_API_KEY='a key'\nSECRET_KEY=\n",
        );
        let (variables, closed) = service(root.path()).environment(root.path());
        let told: Vec<_> = variables
            .iter()
            .map(|found| (&*found.name, &*found.value, &*found.place))
            .collect();
        let file = "/etc/fleetbeat/server.env";
        let unit = "the unit's Environment=";
        let expected = [
            ("SECRET_KEY", "", file),
            ("AGENT_API_KEY", "a key", file),
            ("FLEETBEAT_LISTEN", "127.0.0.1:1", unit),
        ];
        assert_eq!(told, expected);
        assert!(closed.is_empty());
    }
}
