"""Rules of the river and of the city: read as data, evaluated in the database, stored as findings."""

from grids.rules.check import RulesReport, check_rules
from grids.rules.table import Rule, read_rules

__all__ = ["Rule", "RulesReport", "check_rules", "read_rules"]
