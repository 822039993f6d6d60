//! Where a host is: what admins say wins, then what its agent says. A database fills what
//! neither has said, as far as it does not contradict them.

use std::borrow::Cow;

use fleetbeat_protocol::{GeoSource, Server, ShownGeo};

use crate::places::Place;

/// Where a host is, as far as anybody has said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Site<'a> {
    country_code: Cow<'a, str>,
    country: Cow<'a, str>,
    city: Cow<'a, str>,
    /// The coordinates, and who has said where the host is.
    pub(super) geo: ShownGeo,
}

impl<'a> Site<'a> {
    /// Where the record's host is, by what admins and the agent say.
    pub(super) fn of(record: &'a Server) -> Site<'a> {
        let admins = record.settings.geo.as_deref();
        let set = |part: fn(&fleetbeat_protocol::Geo) -> Option<&String>| {
            admins.and_then(part).map(String::as_str)
        };
        let parts = [
            (set(|geo| geo.country_code.as_ref()), &record.country_code),
            (set(|geo| geo.country.as_ref()), &record.country),
            (set(|geo| geo.city.as_ref()), &record.city),
        ];
        let coordinates = admins.and_then(|geo| Some((geo.latitude?, geo.longitude?)));

        let is_by_admins =
            coordinates.is_some() || parts.iter().any(|(set, _)| set.is_some());
        let is_by_agent = parts.iter().any(|(_, said)| !said.is_empty());
        let source = match (is_by_admins, is_by_agent) {
            (true, _) => Some(GeoSource::Admin),
            (false, true) => Some(GeoSource::Agent),
            (false, false) => None,
        };
        let [country_code, country, city] =
            parts.map(|(set, said)| Cow::Borrowed(set.unwrap_or(said)));
        Site {
            country_code,
            country,
            city,
            geo: ShownGeo {
                source,
                latitude: coordinates.map(|(latitude, _)| latitude),
                longitude: coordinates.map(|(_, longitude)| longitude),
            },
        }
    }

    /// Whether a database could tell more.
    pub(super) fn is_open(&self) -> bool {
        self.names_no_country() || self.city.is_empty() || self.geo.latitude.is_none()
    }

    /// Takes over from a database what nobody has said. A city belongs to a country, and
    /// coordinates to a city.
    pub(super) fn fill(&mut self, place: Place) {
        let mut is_filled = false;
        if self.names_no_country() && !place.country_code.is_empty() {
            self.country_code = Cow::Owned(place.country_code.clone());
            self.country = Cow::Owned(place.country);
            is_filled = true;
        }
        if !self.country_code.eq_ignore_ascii_case(&place.country_code) {
            return;
        }
        if self.city.is_empty() && !place.city.is_empty() {
            self.city = Cow::Owned(place.city.clone());
            is_filled = true;
        }
        let is_same = self.city.to_lowercase() == place.city.to_lowercase();
        if let (None, true, Some((latitude, longitude))) =
            (self.geo.latitude, is_same, place.coordinates)
        {
            self.geo.latitude = Some(latitude);
            self.geo.longitude = Some(longitude);
            is_filled = true;
        }
        if is_filled {
            self.geo.source = Some(GeoSource::Database);
        }
    }

    /// The names that are not those of the record; `None` if all are.
    pub(super) fn other_names(&self, record: &Server) -> Option<[String; 3]> {
        let names = [&self.country_code, &self.country, &self.city];
        let said = [&record.country_code, &record.country, &record.city];
        let is_said = names.iter().zip(said).all(|(name, said)| **name == *said);
        (!is_said).then(|| names.map(|name| name.clone().into_owned()))
    }

    fn names_no_country(&self) -> bool {
        self.country_code.is_empty() && self.country.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Geo;

    use super::*;

    /// A record of which agent and admins say these countries' codes, countries and cities.
    fn record(agent: [&str; 3], admins: [Option<&str>; 3]) -> Server {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server: Server = serde_json::from_str(golden).unwrap();
        [server.country_code, server.country, server.city] = agent.map(str::to_owned);
        let [country_code, country, city] = admins.map(|name| name.map(str::to_owned));
        server.settings.geo = Some(Box::new(Geo {
            country_code,
            country,
            city,
            ..Geo::default()
        }));
        server
    }

    fn place() -> Place {
        Place {
            country_code: "AT".to_owned(),
            country: "Austria".to_owned(),
            city: "Vienna".to_owned(),
            coordinates: Some((48.2, 16.4)),
        }
    }

    #[test]
    fn admins_win_then_the_agent_and_a_database_fills_the_rest() {
        use GeoSource::{Admin, Agent, Database};
        let none = [None; 3];
        let silent = ["", "", ""];
        for (agent, admins, names, source, has_coordinates) in [
            (silent, none, ["AT", "Austria", "Vienna"], Database, true),
            (["AT", "", ""], none, ["AT", "", "Vienna"], Database, true),
            (
                ["at", "Oesterreich", "vienna"],
                none,
                ["at", "Oesterreich", "vienna"],
                Database,
                true,
            ),
            // The database knows another city, or another country.
            (
                ["AT", "Austria", "Graz"],
                none,
                ["AT", "Austria", "Graz"],
                Agent,
                false,
            ),
            (
                ["DE", "Germany", ""],
                none,
                ["DE", "Germany", ""],
                Agent,
                false,
            ),
            (["", "Germany", ""], none, ["", "Germany", ""], Agent, false),
            (
                ["DE", "Germany", "Munich"],
                [Some("CH"), None, Some("Bern")],
                ["CH", "Germany", "Bern"],
                Admin,
                false,
            ),
            (
                ["DE", "Germany", "Vienna"],
                [Some("AT"), Some("Austria"), None],
                ["AT", "Austria", "Vienna"],
                Database,
                true,
            ),
        ] {
            let record = record(agent, admins);
            let mut site = Site::of(&record);
            assert!(site.is_open());
            site.fill(place());
            let shown = [&site.country_code, &site.country, &site.city];
            assert_eq!(shown.map(AsRef::as_ref), names, "{agent:?} {admins:?}");
            let expected = (Some(source), has_coordinates);
            let coordinates = site.geo.latitude.zip(site.geo.longitude);
            assert_eq!(
                (site.geo.source, coordinates.is_some()),
                expected,
                "{names:?}"
            );
            let is_other = site.other_names(&record).is_some();
            assert_eq!(is_other, agent != names);
        }
    }

    #[test]
    fn coordinates_of_admins_stay_and_an_unknown_place_says_nothing() {
        let mut record = record(["AT", "Austria", "Vienna"], [None; 3]);
        let geo = record.settings.geo.as_mut().unwrap();
        (geo.latitude, geo.longitude) = (Some(1.0), Some(2.0));
        let mut site = Site::of(&record);
        assert!(!site.is_open());
        site.fill(place());
        let expected = ShownGeo {
            source: Some(GeoSource::Admin),
            latitude: Some(1.0),
            longitude: Some(2.0),
        };
        assert_eq!(site.geo, expected);

        record.settings.geo = None;
        record.city.clear();
        let mut site = Site::of(&record);
        let before = site.clone();
        site.fill(Place::default());
        assert_eq!(site, before);
    }
}
