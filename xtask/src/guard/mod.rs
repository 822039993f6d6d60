//! The rules that the code itself has to keep, each as a list of the places that break
//! it. Tests of this package hold the repository to them.

pub mod circles;
pub mod engines;
pub mod undocumented;
