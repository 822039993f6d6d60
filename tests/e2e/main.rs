//! End-to-end tests: the real binaries in temporary folders, spoken to over real sockets.

mod agent;
