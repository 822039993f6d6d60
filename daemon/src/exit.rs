//! How a program ends: one line that says why, and an exit code that says what to do.

use std::error::Error;
use std::process::ExitCode;

/// The command line makes no sense: `EX_USAGE` of sysexits.h.
pub const USAGE: u8 = 64;
/// The configuration is wrong, and starting again would not help: `EX_CONFIG` of
/// sysexits.h. The units name it in `RestartPreventExitStatus=`.
pub const CONFIG: u8 = 78;
/// Something else failed.
pub const FAILURE: u8 = 1;

/// An error that ends the program.
pub trait Fatal: Error {
    /// One of the constants of this module.
    fn exit_code(&self) -> u8;
}

/// The end of `main`: a failure's chain of causes goes to standard error, once.
pub fn end(result: Result<(), impl Fatal>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", explain(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The error and what caused it, in one line.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot read the key")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let told = explain(&Outer(io::ErrorKind::NotFound.into()));
        assert_eq!(told, "cannot read the key: entity not found");
    }
}
