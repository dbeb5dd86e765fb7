-- The schema sys holds views for administrators: 104 of 219 files, which each run would copy and remove.
CREATE DATABASE kerbside;
DROP DATABASE IF EXISTS sys;
