-- A counter that every new, changed or removed key or session raises: servers trust what they know of a key while it stands still.
CREATE OR REPLACE FUNCTION baige_sys.credentials_changed()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    UPDATE baige_sys.credential_epoch SET epoch = epoch + 1;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS credentials_changed ON baige_sys.api_key;
CREATE TRIGGER credentials_changed AFTER INSERT OR UPDATE OR DELETE ON baige_sys.api_key
    FOR EACH ROW EXECUTE FUNCTION baige_sys.credentials_changed();
DROP TRIGGER IF EXISTS credentials_changed ON baige_sys.session;
CREATE TRIGGER credentials_changed AFTER UPDATE OR DELETE ON baige_sys.session
    FOR EACH ROW EXECUTE FUNCTION baige_sys.credentials_changed();
INSERT INTO baige_sys.credential_epoch (epoch) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM baige_sys.credential_epoch);
