//! Selectors: a small language that says which hosts are meant.
//!
//! ```text
//! selector = and { "or" and }    and = not { "and" not }
//! not      = "not" not | "(" selector ")" | term
//! term     = "all" | field | field op value | field ["not"] "in" "(" value {"," value} ")"
//! op       = "=" "!=" "~" "!~" "<" "<=" ">" ">="
//! ```
//!
//! The dashboard has the same language in TypeScript (`dashboard/src/selector/`). The
//! files in `golden/` hold the two together: selectors with their canonical form and the
//! hosts that they select, and texts that are refused, each with message and place.
//!
//! Nothing in here does I/O or reads a clock.
//!
//! ```
//! use fleetbeat_selector::{Field, Host, Selector, Value};
//!
//! struct Munich;
//!
//! impl Host for Munich {
//!     fn value(&self, field: &Field) -> Value<'_> {
//!         match field {
//!             Field::Country => Value::either("DE", "Germany"),
//!             Field::LoadCpu => Value::Number(23.5),
//!             _ => Value::Missing,
//!         }
//!     }
//! }
//!
//! let selector = Selector::parse("(country=germany) and load.cpu<8e1").unwrap();
//! assert!(selector.selects(&Munich, 0));
//! assert_eq!(selector.to_string(), "country = germany and load.cpu < 80");
//!
//! let error = Selector::parse("country = de gaming").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     r#"at character 14: "and" or "or" is missing before gaming"#
//! );
//! ```

mod error;
mod evaluate;
mod field;
mod lexer;
mod literal;
mod number;
mod operator;
mod parser;
mod possible;
mod selector;
mod show;
mod stream;
mod term;
mod text;
mod tree;
mod version;

pub use error::SelectorError;
pub use evaluate::{Host, Value};
pub use field::Field;
pub use selector::{MAX_BYTES, Selector};
