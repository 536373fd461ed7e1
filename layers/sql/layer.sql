-- Triggers, policies and grants of one layer. Safe to run again.
DROP TRIGGER IF EXISTS a_ensure_change ON baige.{layer};
CREATE TRIGGER a_ensure_change BEFORE INSERT OR UPDATE OR DELETE ON baige.{layer}
    FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.ensure_change();
DROP TRIGGER IF EXISTS b_stamp_row ON baige.{layer};
CREATE TRIGGER b_stamp_row BEFORE UPDATE ON baige.{layer} FOR EACH ROW EXECUTE FUNCTION baige_sys.stamp_row('{name}');
DROP TRIGGER IF EXISTS c_record_insert ON baige.{layer};
CREATE TRIGGER c_record_insert AFTER INSERT ON baige.{layer} FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.record_change();
DROP TRIGGER IF EXISTS c_record_update ON baige.{layer};
CREATE TRIGGER c_record_update AFTER UPDATE ON baige.{layer} REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.record_change();
DROP TRIGGER IF EXISTS c_record_delete ON baige.{layer};
CREATE TRIGGER c_record_delete AFTER DELETE ON baige.{layer} REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.record_change();
DROP TRIGGER IF EXISTS d_refuse_truncate ON baige.{layer};
CREATE TRIGGER d_refuse_truncate BEFORE TRUNCATE ON baige.{layer} FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.refuse_truncate();
