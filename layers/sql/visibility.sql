-- Who sees runs and rasters. Both are of the whole city: a key of one district does not see them, save for the terrain.
ALTER TABLE baige_sys.raster ENABLE ROW LEVEL SECURITY;
ALTER TABLE baige_sys.run ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON baige_sys.run, baige_sys.raster FROM {roles};
DROP POLICY IF EXISTS read_public ON baige_sys.raster;
CREATE POLICY read_public ON baige_sys.raster FOR SELECT TO baige_public USING (classification = 'public');
DROP POLICY IF EXISTS read_viewer ON baige_sys.raster;
CREATE POLICY read_viewer ON baige_sys.raster FOR SELECT TO baige_viewer
    USING (classification = 'public' OR (classification = 'internal' AND (kind = 'dem' OR coalesce(current_setting('baige.district', true), '') = '')));
DROP POLICY IF EXISTS read_staff ON baige_sys.raster;
CREATE POLICY read_staff ON baige_sys.raster FOR SELECT TO baige_officer, baige_planner
    USING (classification = 'public' OR (classification = 'internal' AND kind = 'dem') OR coalesce(current_setting('baige.district', true), '') = '');
DROP POLICY IF EXISTS read_admin ON baige_sys.raster;
CREATE POLICY read_admin ON baige_sys.raster FOR SELECT TO baige_admin USING (true);
GRANT SELECT ON baige_sys.raster TO {roles};
-- Parameters, inputs and summary of a run tell how many features of each class the city has.
DROP POLICY IF EXISTS read_staff ON baige_sys.run;
CREATE POLICY read_staff ON baige_sys.run FOR SELECT TO baige_officer, baige_planner
    USING (coalesce(current_setting('baige.district', true), '') = '');
DROP POLICY IF EXISTS read_admin ON baige_sys.run;
CREATE POLICY read_admin ON baige_sys.run FOR SELECT TO baige_admin USING (true);
GRANT SELECT ON baige_sys.run TO baige_officer, baige_planner, baige_admin;
-- That there was a run, and when, is for every key.
CREATE OR REPLACE VIEW baige_sys.run_brief WITH (security_barrier) AS
    SELECT id, kind, title, scenario, software, synthetic, state, started_at, finished_at FROM baige_sys.run;
REVOKE ALL ON baige_sys.run_brief FROM {roles};
GRANT SELECT ON baige_sys.run_brief TO baige_viewer, baige_officer, baige_planner, baige_admin;
-- Change sets: a key of a district sees its own, keys for the whole city see all.
ALTER TABLE baige_sys.change_set ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON baige_sys.change_set FROM {roles};
DROP POLICY IF EXISTS read_staff ON baige_sys.change_set;
CREATE POLICY read_staff ON baige_sys.change_set FOR SELECT TO baige_officer, baige_planner
    USING (coalesce(current_setting('baige.district', true), '') = ''
           OR (actor = current_setting('baige.key_id', true) AND current_setting('baige.key_id', true) <> ''));
DROP POLICY IF EXISTS read_admin ON baige_sys.change_set;
CREATE POLICY read_admin ON baige_sys.change_set FOR SELECT TO baige_admin USING (true);
GRANT SELECT ON baige_sys.change_set TO baige_officer, baige_planner, baige_admin;
