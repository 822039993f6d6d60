//! What selects the documents of a list.

use mongodb::bson::{Bson, Document, doc};

/// The field has one of these values; any where there are none.
pub(super) fn is_one_of<'a>(
    condition: &mut Document,
    field: &str,
    wanted: impl IntoIterator<Item = &'a str>,
) {
    let wanted: Vec<&str> = wanted.into_iter().collect();
    if !wanted.is_empty() {
        condition.insert(field, doc! {"$in": wanted});
    }
}

/// The document is behind this place of a list by `field`, the highest first.
pub(super) fn is_behind(condition: &mut Document, field: &str, value: Bson, id: &str) {
    let behind = [
        doc! {field: {"$lt": value.clone()}},
        doc! {field: value, "_id": {"$lt": id}},
    ];
    condition.insert("$or", behind.to_vec());
}
