//! What simulated people are called, and where and as what they work.

use std::fmt;

use rand::Rng;
use rand::rngs::SmallRng;

/// Things to draw from; never empty, by construction.
#[derive(Clone, Copy, Debug)]
pub struct Pool<T: 'static> {
    first: T,
    rest: &'static [T],
}

impl<T> Pool<T> {
    const fn new(first: T, rest: &'static [T]) -> Self {
        Self { first, rest }
    }

    /// How many things there are; at least one.
    const fn size(&self) -> usize {
        self.rest.len() + 1
    }

    fn at(&'static self, index: usize) -> &'static T {
        index.checked_sub(1).and_then(|index| self.rest.get(index)).unwrap_or(&self.first)
    }

    /// One of them.
    pub fn pick(&'static self, rng: &mut SmallRng) -> &'static T {
        self.at(rng.random_range(0..self.size()))
    }
}

impl<T: PartialEq> Pool<T> {
    /// One of them that is not `current`, as far as there is another.
    pub fn pick_other(&'static self, rng: &mut SmallRng, current: &T) -> &'static T {
        let index = rng.random_range(0..self.size());
        let drawn = self.at(index);
        if drawn == current { self.at((index + 1) % self.size()) } else { drawn }
    }
}

/// A department and its code.
#[derive(Debug, PartialEq, Eq)]
pub struct Department {
    /// As in listings.
    pub name: &'static str,
    /// Only in details.
    pub code: &'static str,
}

/// An employment status and the type that goes with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Employment {
    /// `full_time`, `part_time`, `contractor`.
    pub status: &'static str,
    /// `Full-Time`, `Part-Time`, `Contractor`.
    pub kind: &'static str,
}

/// A place of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// As in listings.
    pub name: &'static str,
    /// Only in details.
    pub address: &'static str,
}

/// A telephone number of the range that is kept for fiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phone {
    area: u16,
    line: u16,
}

impl Phone {
    /// Some number.
    pub fn random(rng: &mut SmallRng) -> Self {
        Self { area: rng.random_range(201..990), line: rng.random_range(0..10_000) }
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+1-{}-555-{:04}", self.area, self.line)
    }
}

const HARBOUR: Location = Location { name: "Harbour House", address: "4 Quayside, Bristol BS1 4RN" };
const LISBOA: Location = Location { name: "Escritório de Lisboa", address: "Rua Augusta 210, 1100-056 Lisboa" };
const OSAKA: Location = Location { name: "大阪オフィス", address: "2-4-9 Umeda, Kita-ku, Osaka" };
const PLANT: Location = Location { name: "Plant No. 2", address: "880 Foundry Rd, Toledo, OH" };

/// Where people work: one place, two, or none.
pub static LOCATIONS: Pool<&[Location]> = Pool::new(&[HARBOUR], &[&[PLANT], &[LISBOA], &[OSAKA], &[HARBOUR, LISBOA], &[PLANT, OSAKA], &[]]);

/// Departments.
pub static DEPARTMENTS: Pool<Department> = Pool::new(
    Department { name: "Engineering", code: "ENG" },
    &[
        Department { name: "Customer Care", code: "CARE" },
        Department { name: "Logistics", code: "LOG" },
        Department { name: "People & Culture", code: "PPL" },
        Department { name: "Qualité", code: "QUA" },
        Department { name: "Treasury", code: "TRE" },
    ],
);

/// Employment statuses.
pub static EMPLOYMENTS: Pool<Employment> = Pool::new(
    Employment { status: "full_time", kind: "Full-Time" },
    &[Employment { status: "part_time", kind: "Part-Time" }, Employment { status: "contractor", kind: "Contractor" }],
);

/// Given names.
pub static FIRST_NAMES: Pool<&str> = Pool::new(
    "Amara",
    &[
        "Björn", "Carmen", "Đorđe", "Esi", "Finn", "Gwen", "Hélène", "Ilse", "João", "Keiko", "Leïla", "Mateo", "Nia", "Ondřej", "Priya",
        "Raúl", "Siobhán", "Tariq", "Ulla", "Vân", "Wim", "Xóchitl", "Yaw", "Žofia", "美咲", "Anders", "Brigid", "Claudio", "Dalia",
    ],
);

/// Family names.
pub static LAST_NAMES: Pool<&str> = Pool::new(
    "Achebe",
    &[
        "Bělohlávek",
        "Calderón",
        "D'Angelo",
        "Engström",
        "Fraser",
        "Gökçe",
        "Holm",
        "Ito",
        "Jóhannsdóttir",
        "Kamau",
        "Lefèvre",
        "Mbeki",
        "Núñez",
        "Okafor",
        "Pérez-Gil",
        "Rautavaara",
        "Sørby",
        "Tremblay",
        "Uchida",
        "van der Meer",
        "Weiß",
        "Yılmaz",
        "Zhāng",
        "佐藤",
        "Baptiste",
        "Coelho",
        "Dumitru",
        "Eide",
    ],
);

/// Job titles.
pub static JOB_TITLES: Pool<&str> = Pool::new(
    "Engineer",
    &[
        "Accountant",
        "Chargée de projet",
        "Dispatcher",
        "Electrician",
        "Forklift Operator",
        "HR Partner",
        "Line Lead",
        "Machinist",
        "Night Auditor",
        "Quality Inspector",
        "Senior Engineer",
        "Team Lead",
        "Trainer",
        "Warehouse Associate",
    ],
);

/// Organizational roles.
pub static ROLES: Pool<&str> = Pool::new("Staff", &["Manager", "Administrator"]);

/// Exempt from overtime rules or not.
pub static FLSA_STATUSES: Pool<&str> = Pool::new("exempt", &["non_exempt"]);

/// Worker classifications.
pub static CLASSIFICATIONS: Pool<&str> = Pool::new("employee", &["contingent", "intern"]);

/// Time zones.
pub static TIME_ZONES: Pool<&str> =
    Pool::new("America/New_York", &["America/Los_Angeles", "Asia/Tokyo", "Europe/Lisbon", "Europe/London", "Pacific/Auckland"]);

/// Why someone left.
pub static TERMINATIONS: Pool<&str> = Pool::new("voluntary", &["involuntary", "end_of_contract"]);
