//! Small databases of places, in `MaxMind`'s format.

use std::net::Ipv4Addr;

use serde_json::Value;

/// What stands before the metadata.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// The zeros between the tree and the data.
const SEPARATOR: [u8; 16] = [0; 16];

/// Where a branch of the tree leads.
#[derive(Clone, Copy)]
enum Branch {
    /// Nothing is known.
    Nowhere,
    /// To the node of this number.
    Node(usize),
    /// To the data at this offset.
    Data(usize),
}

/// A database in which each network, an IPv4 address and a length, has its entry.
pub fn database(entries: &[((Ipv4Addr, u32), Value)]) -> Vec<u8> {
    let mut nodes = vec![[Branch::Nowhere; 2]];
    let mut data = Vec::new();
    for ((address, length), entry) in entries {
        let offset = data.len();
        encode(entry, &mut data);
        insert(&mut nodes, *address, *length, offset);
    }

    let mut file = Vec::new();
    for branch in nodes.iter().flatten() {
        let number = match branch {
            Branch::Nowhere => nodes.len(),
            Branch::Node(node) => *node,
            Branch::Data(offset) => nodes.len() + SEPARATOR.len() + offset,
        };
        let number = u32::try_from(number).expect("the database is small");
        file.extend(&number.to_be_bytes()[1..]);
    }
    file.extend(SEPARATOR);
    file.extend(data);
    file.extend(MARKER);
    file.extend(metadata(nodes.len()));
    file
}

fn insert(nodes: &mut Vec<[Branch; 2]>, address: Ipv4Addr, length: u32, offset: usize) {
    let mut node = 0;
    for depth in 0..length {
        let bit = usize::from(address.to_bits() << depth >> 31 == 1);
        if depth + 1 == length {
            nodes[node][bit] = Branch::Data(offset);
            return;
        }
        node = match nodes[node][bit] {
            Branch::Node(next) => next,
            _ => {
                nodes.push([Branch::Nowhere; 2]);
                let next = nodes.len() - 1;
                nodes[node][bit] = Branch::Node(next);
                next
            }
        };
    }
}

fn metadata(nodes: usize) -> Vec<u8> {
    let nodes = u32::try_from(nodes).expect("the database is small");
    let mut data = Vec::new();
    control(7, 9, &mut data);
    let mut number = |name: &str, kind: u8, bytes: &[u8]| {
        text(name, &mut data);
        control(kind, bytes.len(), &mut data);
        data.extend(bytes);
    };
    number("node_count", 6, &nodes.to_be_bytes());
    number("record_size", 5, &24_u16.to_be_bytes());
    number("ip_version", 5, &4_u16.to_be_bytes());
    number("binary_format_major_version", 5, &2_u16.to_be_bytes());
    number("binary_format_minor_version", 5, &0_u16.to_be_bytes());
    number("build_epoch", 9, &1_767_225_600_u64.to_be_bytes());
    text("database_type", &mut data);
    text("Fleetbeat-Test", &mut data);
    text("languages", &mut data);
    control(11, 0, &mut data);
    text("description", &mut data);
    control(7, 1, &mut data);
    text("en", &mut data);
    text("Places of documentation", &mut data);
    data
}

fn encode(value: &Value, data: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            control(7, members.len(), data);
            for (name, value) in members {
                text(name, data);
                encode(value, data);
            }
        }
        Value::String(value) => text(value, data),
        Value::Number(number) => {
            control(3, 8, data);
            let number = number.as_f64().expect("a number is finite");
            data.extend(number.to_be_bytes());
        }
        other => panic!("{other} is not in such databases"),
    }
}

fn text(text: &str, data: &mut Vec<u8>) {
    control(2, text.len(), data);
    data.extend(text.as_bytes());
}

/// The head of a value: its type and its size.
fn control(kind: u8, size: usize, data: &mut Vec<u8>) {
    let size = u8::try_from(size).expect("values are short");
    let short = size.min(29);
    if kind <= 7 {
        data.push(kind << 5 | short);
    } else {
        data.extend([short, kind - 7]);
    }
    if short == 29 {
        data.push(size - 29);
    }
}
