//! Settings as text in, values and problems out.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use fleetbeat_settings::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What `read` makes of `text`, and the problems as they are shown.
fn read<T>(text: &str, read: impl FnOnce(&mut Table<'_>) -> T) -> (T, String) {
    let mut problems = Problems::default();
    let document = Document::parse("a.toml", text, &mut problems);
    let value = document.read(&mut problems, read);
    (value, shown(problems))
}

fn shown(problems: Problems) -> String {
    problems
        .into_result()
        .map_or_else(|problems| problems.to_string(), |()| String::new())
}

/// What is told about `text` when `reader` reads it.
fn told<T>(text: &str, reader: impl FnOnce(&mut Table<'_>) -> Option<T>) -> String {
    let (value, told) = read(text, reader);
    assert!(value.is_none(), "{text:?} has a value");
    told
}

#[test]
fn every_type_reads() {
    let text = r#"
        name = "wg"
        count = 0x10
        small = -5
        on = true
        every = "30s"
        list = ["a", "b"]
        [table]
        inner = "x"
        [[tables]]
        n = 1
        [[tables]]
        n = 2
    "#;
    let ((), told) = read(text, |root| {
        assert_eq!(root.string("name").unwrap(), "wg");
        assert_eq!(root.integer("count", 1..=16u16), Some(16));
        assert_eq!(root.integer("small", -5..=5i64), Some(-5));
        assert_eq!(root.boolean("on"), Some(true));
        assert_eq!(root.duration("every", SECOND..=HOUR), Some(30 * SECOND));
        assert_eq!(root.strings("list").unwrap(), ["a", "b"]);
        assert_eq!(
            root.table("table", |table| table.string("inner"))
                .flatten()
                .unwrap(),
            "x"
        );
        assert_eq!(
            root.tables("tables", |table| table.integer("n", 0..=9))
                .unwrap(),
            [Some(1), Some(2)]
        );
        assert_eq!(root.section("absent", |table| table.string("inner")), None);
        assert_eq!(root.string("absent too"), None);
    });
    assert_eq!(told, "");
}

#[test]
fn wrong_types_and_values_name_their_place() {
    let cases = [
        (
            told("x = 1", |root| root.string("x")),
            "x: must be a string, not a number",
        ),
        (
            told("x = 1.5", |root| root.integer("x", 0..=9)),
            "x: must be a whole number, not a float",
        ),
        (
            told("x = 10", |root| root.integer("x", 0..=9)),
            "x: must be from 0 to 9",
        ),
        (
            told("x = -1", |root| root.integer("x", 0..=9u64)),
            "x: must be from 0 to 9",
        ),
        (
            told(&format!("x = {}", "9".repeat(50)), |root| {
                root.integer("x", 0..=9)
            }),
            "x: must be from 0 to 9",
        ),
        (
            told("x = 'on'", |root| root.boolean("x")),
            "x: must be true or false, not a string",
        ),
        (
            told("x = 30", |root| root.duration("x", SECOND..=HOUR)),
            "x: must be a duration such as \"30s\"",
        ),
        (
            told("x = '2h'", |root| root.duration("x", SECOND..=HOUR)),
            "x: must be from 1s to 1h",
        ),
        (
            told("x = 'a'", |root| root.strings("x")),
            "x: must be an array of strings, not a string",
        ),
        (
            told("x = ['a', 2]", |root| root.strings("x")),
            "x[1]: must be a string, not a number",
        ),
        (
            told("x = 1979-05-27", |root| root.table("x", |_| ())),
            "x: must be a table, not a date",
        ),
        (
            told("x = {}", |root| root.tables("x", |_| ())),
            "x: must be an array of tables, not a table",
        ),
        (
            told("x = 'z'", |root| {
                root.parsed("x", |text| Err::<(), _>(format!("has no {text}")))
            }),
            "x: has no z",
        ),
    ];
    for (told, expected) in cases {
        assert_eq!(told, format!("a.toml:1: {expected}"));
    }
    let (sections, told) =
        read("x = 1", |root| root.section("x", |table| table.string("y")));
    assert_eq!(
        (sections, told.as_str()),
        (None, "a.toml:1: x: must be a table, not a number")
    );
}

#[test]
fn one_problem_hides_no_other() {
    let text = "a = 1\n[t]\nb = 'x'\nunits = [\n  {name = 1},\n  'z',\n  {nam = 'wg'},\n]\nc = 3\n";
    let ((), told) = read(text, |root| {
        root.string("a");
        root.table("t", |table| {
            table.boolean("b");
            table.tables("units", |unit| {
                unit.require("name");
                unit.string("name")
            });
            table.require("d");
        });
    });
    let expected = [
        "a.toml:1: a: must be a string, not a number",
        "a.toml:2: t.d: is missing",
        "a.toml:3: t.b: must be true or false, not a string",
        "a.toml:5: t.units[0].name: must be a string, not a number",
        "a.toml:6: t.units[1]: must be a table, not a string",
        "a.toml:7: t.units[2].name: is missing",
        "a.toml:7: t.units[2].nam: is not a known key; known here: name",
        "a.toml:9: t.c: is not a known key; known here: b, units, d",
    ];
    assert_eq!(told, expected.join("\n"));
}

#[test]
fn what_is_no_toml_is_told_beside_the_rest() {
    let text = "a = yes\nb = 2\nc =\n[t]\nx = 'open\ny = 1\n";
    let ((), told) = read(text, |root| {
        assert_eq!(root.boolean("a"), None);
        root.string("b");
        root.require("c");
        root.table("t", |table| {
            assert_eq!(table.string("x"), None);
            assert_eq!(table.integer("y", 1..=1), Some(1));
        });
    });
    let lines: Vec<_> = told
        .lines()
        .map(|line| line.split_inclusive(": ").take(2).collect::<String>())
        .collect();
    assert_eq!(
        lines,
        [
            "a.toml:1: is no TOML: ",
            "a.toml:2: b: ",
            "a.toml:3: is no TOML: ",
            "a.toml:5: is no TOML: "
        ]
    );
}

#[test]
fn a_key_given_twice_or_nested_without_end_is_no_toml() {
    for text in [
        "a = 1\na = 2\n",
        "[t]\n[t]\n",
        &format!("a = {}", "[".repeat(100_000)),
    ] {
        let ((), told) = read(text, |root| {
            root.has("a");
            root.has("t");
        });
        assert!(told.contains("is no TOML"), "{told}");
    }
}

#[test]
fn later_files_win_key_by_key_and_replace_lists() {
    let mut problems = Problems::default();
    let mut document = Document::parse(
        "a.toml",
        "x = 1\nlist = ['a', 'b']\n[t]\nkeep = 'a'\nwrong = 'a'\nreplaced = 1\n",
        &mut problems,
    );
    document.merge(Document::parse(
        "b.toml",
        "list = ['c']\nx = 'b'\n[t]\nwrong = 2\nnew = 'b'\nreplaced = {y = 'b'}\n[u]\nz = 1\n",
        &mut problems,
    ));
    document.read(&mut problems, |root| {
        assert_eq!(root.string("x").unwrap(), "b");
        assert_eq!(root.strings("list").unwrap(), ["c"]);
        root.table("t", |table| {
            assert_eq!(table.string("keep").unwrap(), "a");
            assert_eq!(table.string("wrong"), None);
            assert_eq!(table.string("new").unwrap(), "b");
            assert_eq!(
                table
                    .table("replaced", |inner| inner.string("y"))
                    .flatten()
                    .unwrap(),
                "b"
            );
            table.require("absent");
        });
    });
    let expected = [
        "a.toml:3: t.absent: is missing",
        "b.toml:4: t.wrong: must be a string, not a number",
        "b.toml:7: u: is not a known key; known here: x, list, t",
    ];
    assert_eq!(shown(problems), expected.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let mut problems = Problems::default();
    Document::open(Path::new("/nowhere/a.toml"), &mut problems)
        .read(&mut problems, |_| ());
    assert!(shown(problems).starts_with("/nowhere/a.toml: cannot be read: "));
}

/// Reads a `document` in which everything needs an `a`.
fn require_everywhere(document: &Document, problems: &mut Problems) {
    document.read(problems, |root| {
        root.require("a");
        root.section("t", |table| {
            table.require("a");
            table.string("b");
        });
        root.tables("units", |unit| unit.require("a"));
    });
}

#[test]
fn where_a_file_cannot_be_read_no_key_is_missing() {
    let mut problems = Problems::default();
    let document = Document::open(Path::new("/nowhere/a.toml"), &mut problems);
    require_everywhere(&document, &mut problems);
    let told = shown(problems);
    assert_eq!(told.lines().count(), 1, "{told}");

    // What a second file says is checked all the same; but what it lacks may be in the
    // first, except within an array, which no other file adds to.
    let second = "[t]\nb = 1\n[[units]]\n";
    for first_is_unread in [true, false] {
        let mut problems = Problems::default();
        let mut documents = [
            Document::open(Path::new("/nowhere/a.toml"), &mut problems),
            Document::parse("b.toml", second, &mut problems),
        ];
        if !first_is_unread {
            documents.reverse();
        }
        let [mut document, later] = documents;
        document.merge(later);
        require_everywhere(&document, &mut problems);
        let told = shown(problems);
        let (first, rest) = told.split_once('\n').unwrap();
        assert!(first.starts_with("/nowhere/a.toml: "), "{told}");
        let expected = [
            "b.toml:2: t.b: must be a string, not a number",
            "b.toml:3: units[0].a: is missing",
        ];
        assert_eq!(rest, expected.join("\n"));
    }
}

/// The secret KEY under `environment`, where the file `/key` holds a secret and `/empty`
/// does not.
fn secret(environment: &[(&str, &str)]) -> (Option<Secret>, String) {
    let mut problems = Problems::default();
    let variable = |name: &str| {
        environment
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| OsString::from(*value))
    };
    let file = |path: &Path| match path.to_str() {
        Some("/key") => Ok("from file\r\n".to_owned()),
        Some("/empty") => Ok("\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let secret = Secret::find("KEY", variable, file, &mut problems);
    (secret, shown(problems))
}

#[test]
fn a_secret_comes_from_the_variable_or_its_file() {
    assert_eq!(secret(&[]), (None, String::new()));
    assert_eq!(secret(&[("KEY", "plain ")]).0.unwrap().expose(), "plain ");
    assert_eq!(
        secret(&[("KEY_FILE", "/key")]).0.unwrap().expose(),
        "from file"
    );
    assert_eq!(
        format!("{:?}", secret(&[("KEY", "hidden")]).0),
        "Some(Secret(…))"
    );
}

#[test]
fn a_wrong_secret_names_its_variable_and_never_its_value() {
    for (environment, expected) in [
        (vec![("KEY", "")], "environment: KEY: is empty"),
        (
            vec![("KEY_FILE", "/empty")],
            "environment: KEY_FILE: /empty: is empty",
        ),
        (
            vec![("KEY_FILE", "/gone")],
            "environment: KEY_FILE: /gone: entity not found",
        ),
        (
            vec![("KEY", "a"), ("KEY_FILE", "/key")],
            "environment: KEY: is set, and so is KEY_FILE: one of them must go",
        ),
    ] {
        assert_eq!(secret(&environment), (None, expected.to_owned()));
    }
}
